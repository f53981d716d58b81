-- Joins to labels are left joins though each finds its row: one whose label is not asked for is then not made.
select
    month.month_end,
    day.financial_year,
    month.workforce_group,
    workforce_group.workforce_group_label,
    month.rank_code,
    rank.rank_label,
    month.rank_group,
    month.band,
    staff_band.staff_band_label,
    month.ethnicity_code,
    ethnicity.ethnicity_label,
    ethnicity.five_group,
    ethnicity.is_known as is_ethnicity_known,
    ethnicity.is_ethnic_minority,
    month.sex_code,
    sex.sex_label,
    month.age_band_code,
    age_band.age_band_label,
    month.org_type,
    month.bcu_code as posting_bcu_code,
    bcu.area_name as posting_bcu_name,
    month.borough_code as posting_borough_code,
    borough.area_name as posting_borough_name,
    month.headcount,
    month.fte,
    month.working_strength,
    month.part_time,
    (select max(build.build_id) from {{ source('audit', 'switched_build') }} as build) as build_id
from {{ ref('workforce_month') }} as month
left join {{ ref('dim_date') }} as day on month.month_end = day.date_day
left join {{ ref('dim_workforce_group') }} as workforce_group on month.workforce_group = workforce_group.workforce_group
left join {{ ref('dim_rank') }} as rank on month.rank_code = rank.rank_code
left join {{ ref('dim_staff_band') }} as staff_band on month.band = staff_band.band
left join {{ ref('dim_ethnicity') }} as ethnicity on month.ethnicity_code = ethnicity.ethnicity_code
left join {{ ref('dim_sex') }} as sex on month.sex_code = sex.sex_code
left join {{ ref('dim_age_band') }} as age_band on month.age_band_code = age_band.age_band_code
left join {{ ref('dim_area') }} as bcu on month.bcu_code = bcu.area_code
left join {{ ref('dim_area') }} as borough on month.borough_code = borough.area_code
