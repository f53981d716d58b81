-- Joins to labels are left joins though each finds its row: one whose label is not asked for is then not made.
select
    month.month_end,
    day.financial_year,
    month.movement_type,
    month.movement_kind,
    month.workforce_group,
    workforce_group.workforce_group_label,
    month.joiner_type,
    joiner_type.joiner_type_label,
    joiner_type.is_transfer,
    month.entry_route,
    entry_route.entry_route_label,
    month.leaving_reason_code,
    leaving_reason.leaving_reason_label,
    month.rank_code,
    rank.rank_label,
    rank.rank_group,
    month.ethnicity_code,
    ethnicity.ethnicity_label,
    ethnicity.five_group,
    ethnicity.is_known as is_ethnicity_known,
    ethnicity.is_ethnic_minority,
    month.sex_code,
    sex.sex_label,
    month.movements,
    case when month.movement_type = 'join' then month.movements else 0 end as joiners,
    case when month.movement_type = 'leave' then month.movements else 0 end as leavers,
    month.headcount_movements,
    month.working_movements,
    (select max(build.build_id) from {{ source('audit', 'switched_build') }} as build) as build_id
from {{ ref('movement_month') }} as month
left join {{ ref('dim_date') }} as day on month.month_end = day.date_day
left join {{ ref('dim_workforce_group') }} as workforce_group on month.workforce_group = workforce_group.workforce_group
left join {{ ref('dim_joiner_type') }} as joiner_type on month.joiner_type = joiner_type.joiner_type
left join {{ ref('dim_entry_route') }} as entry_route on month.entry_route = entry_route.entry_route
left join {{ ref('dim_leaving_reason') }} as leaving_reason
    on month.leaving_reason_code = leaving_reason.leaving_reason_code
left join {{ ref('dim_rank') }} as rank on month.rank_code = rank.rank_code
left join {{ ref('dim_ethnicity') }} as ethnicity on month.ethnicity_code = ethnicity.ethnicity_code
left join {{ ref('dim_sex') }} as sex on month.sex_code = sex.sex_code
