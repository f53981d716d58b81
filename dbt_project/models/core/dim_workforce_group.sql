select
    workforce_group,
    workforce_group_label,
    is_paid,
    is_attested,
    is_workforce,
    sort_order::integer as sort_order
from {{ ref('ref_workforce_group') }}
