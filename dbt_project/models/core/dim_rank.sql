select
    rank_code,
    rank_label,
    rank_group,
    home_office_label,
    sort_order::integer as sort_order
from {{ ref('ref_rank') }}
