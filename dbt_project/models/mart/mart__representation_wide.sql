-- Who is posted to an area beside who lives there: whoever is posted to a borough counts in the borough, its BCU and
-- the Met's area, and everyone counts in the Met's area. Of residents the latest census by the month's end, as in K03.
with
posted as (
    select
        month.month_end,
        month.workforce_group,
        area.area_code,
        sum(month.headcount) filter (where ethnicity.five_group = 'Asian') as asian,
        sum(month.headcount) filter (where ethnicity.five_group = 'Black') as black,
        sum(month.headcount) filter (where ethnicity.five_group = 'Mixed') as mixed,
        sum(month.headcount) filter (where ethnicity.five_group = 'White') as white,
        sum(month.headcount) filter (where ethnicity.five_group = 'Other') as other,
        coalesce(sum(month.headcount) filter (where ethnicity.is_known), 0) as headcount_stated
    from {{ ref('workforce_month') }} as month
    inner join {{ ref('dim_ethnicity') }} as ethnicity on month.ethnicity_code = ethnicity.ethnicity_code
    cross join
        lateral (values ('E23000001'), (month.bcu_code), (month.borough_code)) as area (area_code)
    where area.area_code not in ('NONE', 'UNK')
    group by month.month_end, month.workforce_group, area.area_code
),

living as (
    select
        population.census_year,
        area.area_code,
        ethnicity.five_group,
        sum(population.residents) as residents,
        sum(sum(population.residents)) over (partition by population.census_year, area.area_code) as all_residents
    from {{ ref('fct_population') }} as population
    inner join {{ ref('dim_area') }} as borough on population.area_code = borough.area_code
    inner join {{ ref('dim_ethnicity') }} as ethnicity on population.ethnicity_code = ethnicity.ethnicity_code
    cross join lateral (values ('E23000001'), (borough.bcu_code), (borough.area_code)) as area (area_code)
    where population.category_kind = 'ethnic_group' and borough.in_mps_area
    group by population.census_year, area.area_code, ethnicity.five_group
)

select
    posted.month_end,
    posted.workforce_group,
    workforce_group.workforce_group_label,
    posted.area_code,
    area.area_name,
    area.area_type,
    living.five_group,
    counted.headcount::integer as headcount,
    posted.headcount_stated::integer as headcount_stated,
    ({{ share('counted.headcount', 'posted.headcount_stated') }})::numeric(9, 6) as workforce_share,
    living.census_year,
    living.residents::bigint as residents,
    living.all_residents::bigint as all_residents,
    ({{ share('living.residents', 'living.all_residents') }})::numeric(9, 6) as residents_share,
    (select max(build.build_id) from {{ source('audit', 'switched_build') }} as build) as build_id
from posted
cross join
    lateral (
        values
        ('Asian', coalesce(posted.asian, 0)),
        ('Black', coalesce(posted.black, 0)),
        ('Mixed', coalesce(posted.mixed, 0)),
        ('White', coalesce(posted.white, 0)),
        ('Other', coalesce(posted.other, 0))
    ) as counted (five_group, headcount)
inner join living
    on
        posted.area_code = living.area_code
        and counted.five_group = living.five_group
        and living.census_year = case when posted.month_end < date '2021-03-21' then 2011 else 2021 end
left join {{ ref('dim_workforce_group') }} as workforce_group
    on posted.workforce_group = workforce_group.workforce_group
left join {{ ref('dim_area') }} as area on posted.area_code = area.area_code
