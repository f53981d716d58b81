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
    count(*)::integer as movements,
    (count(*) filter (where is_ho_headcount))::integer as headcount_movements,
    (count(*) filter (where is_working_strength))::integer as working_movements
from {{ ref('fct_workforce_movement') }}
group by
    month_end,
    movement_type,
    movement_kind,
    workforce_group,
    joiner_type,
    entry_route,
    leaving_reason_code,
    rank_code,
    ethnicity_code,
    sex_code
