select
    joiner_type,
    joiner_type_label,
    home_office_label,
    is_transfer,
    is_known,
    sort_order::integer as sort_order,
    provenance
from {{ ref('ref_joiner_type') }}
