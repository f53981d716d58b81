select
    area_code,
    area_name,
    area_type,
    bcu_code,
    in_mps_area,
    sort_order::integer as sort_order
from {{ ref('ref_area') }}
