select
    month_end,
    movement_type,
    movement_kind,
    workforce_group,
    nullif(joiner_type, 'none') as joiner_type,
    nullif(entry_route, 'none') as entry_route,
    nullif(leaving_reason_code, 'none') as leaving_reason_code,
    rank_code,
    ethnicity_code,
    sex_code,
    movements,
    headcount_movements,
    working_movements
from {{ ref('movement_month') }}
