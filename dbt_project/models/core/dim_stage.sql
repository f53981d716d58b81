select
    stage_code,
    stage_order::integer as stage_order,
    stage_label,
    in_2014,
    in_2019,
    in_online
from {{ ref('ref_stage') }}
