-- Residents' shares by five-group and for ethnic minorities excluding White ones, all ages, for each
-- borough, BCU, the Met's area (32 boroughs) and London (33), with the date from which a census is used.
with
placed as (
    select
        population.census_year,
        population.ethnicity_code,
        population.residents,
        area.area_code,
        area.bcu_code,
        area.in_mps_area
    from {{ ref('fct_population') }} as population
    inner join {{ ref('dim_area') }} as area on population.area_code = area.area_code
    where population.category_kind = 'ethnic_group'
),

by_area as (
    select
        census_year,
        area_code,
        ethnicity_code,
        residents
    from placed
    union all
    select
        census_year,
        bcu_code,
        ethnicity_code,
        residents
    from placed where bcu_code is not null
    union all
    select
        census_year,
        'E23000001',
        ethnicity_code,
        residents
    from placed where in_mps_area
    union all
    select
        census_year,
        'E12000007',
        ethnicity_code,
        residents
    from placed
),

by_group as (
    select
        by_area.census_year,
        by_area.area_code,
        groups.ethnic_group,
        sum(by_area.residents) as residents
    from by_area
    inner join {{ ref('dim_ethnicity') }} as ethnicity on by_area.ethnicity_code = ethnicity.ethnicity_code
    cross join
        lateral (
            select ethnicity.five_group as ethnic_group
            union all
            select 'Ethnic minority' where ethnicity.is_ethnic_minority
            union all
            select 'All'
        ) as groups
    group by by_area.census_year, by_area.area_code, groups.ethnic_group
)

select
    part.census_year,
    part.area_code,
    part.ethnic_group,
    part.residents,
    whole_area.residents as all_residents,
    {{ share('part.residents', 'whole_area.residents') }} as share,
    -- Census Day; a census is not used before its own day.
    case part.census_year when 2011 then date '1900-01-01' else date '2021-03-21' end as used_from
from by_group as part
inner join by_group as whole_area
    on
        part.census_year = whole_area.census_year
        and part.area_code = whole_area.area_code
        and whole_area.ethnic_group = 'All'
where part.ethnic_group <> 'All'
