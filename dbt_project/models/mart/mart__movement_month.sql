select
    month_end,
    movement_type,
    workforce_group,
    nullif(joiner_type, 'none') as joiner_type,
    nullif(entry_route, 'none') as entry_route,
    nullif(leaving_reason_code, 'none') as leaving_reason_code,
    ethnicity_code,
    sex_code,
    movements
from {{ ref('movement_month') }}
