select
    month_end,
    movement_type,
    movement_kind,
    workforce_group,
    joiner_type,
    entry_route,
    leaving_reason_code,
    rank_code,
    ethnicity_code,
    sex_code,
    movements,
    headcount_movements,
    working_movements
from {{ ref('movement_month') }}
