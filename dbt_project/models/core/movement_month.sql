select
    month_end,
    movement_type,
    workforce_group,
    coalesce(joiner_type, 'none') as joiner_type,
    coalesce(entry_route, 'none') as entry_route,
    coalesce(leaving_reason_code, 'none') as leaving_reason_code,
    ethnicity_code,
    sex_code,
    count(*)::integer as movements
from {{ ref('fct_workforce_movement') }}
group by
    month_end, movement_type, workforce_group, joiner_type, entry_route, leaving_reason_code, ethnicity_code, sex_code
