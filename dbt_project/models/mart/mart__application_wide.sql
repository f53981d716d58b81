-- Joins to labels are left joins though each finds its row: one whose label is not asked for is then not made.
select
    month.month_end,
    day.financial_year,
    month.workforce_group,
    workforce_group.workforce_group_label,
    month.entry_route,
    entry_route.entry_route_label,
    month.attributed_category,
    month.furthest_stage_key,
    stage.process_version,
    stage.stage_label as furthest_stage_label,
    stage.stage_order as furthest_stage_order,
    month.ethnicity_code,
    ethnicity.ethnicity_label,
    ethnicity.five_group,
    ethnicity.is_known as is_ethnicity_known,
    ethnicity.is_ethnic_minority,
    month.sex_code,
    sex.sex_label,
    month.residence_area,
    residence.area_name as residence_area_name,
    month.applications,
    (select max(build.build_id) from {{ source('audit', 'switched_build') }} as build) as build_id
from {{ ref('application_month') }} as month
left join {{ ref('dim_date') }} as day on month.month_end = day.date_day
left join {{ ref('dim_workforce_group') }} as workforce_group on month.workforce_group = workforce_group.workforce_group
left join {{ ref('dim_entry_route') }} as entry_route on month.entry_route = entry_route.entry_route
left join {{ ref('dim_stage') }} as stage on month.furthest_stage_key = stage.stage_key
left join {{ ref('dim_ethnicity') }} as ethnicity on month.ethnicity_code = ethnicity.ethnicity_code
left join {{ ref('dim_sex') }} as sex on month.sex_code = sex.sex_code
left join {{ ref('dim_area') }} as residence on month.residence_area = residence.area_code
