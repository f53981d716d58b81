-- K03: a group's share of officers over its share of residents of the same area, all residents of all
-- ages, at the last month of the quarter. The Met's area is 32 boroughs; boroughs and BCUs count only
-- the officers posted to one.
with
groups as (
    select
        month_end,
        area_code,
        five_group as ethnic_group,
        headcount,
        is_known
    from {{ ref('int_officer_month') }}
    where rank_group = 'all'
    union all
    select
        month_end,
        area_code,
        'Ethnic minority',
        headcount,
        is_known
    from {{ ref('int_officer_month') }}
    where rank_group = 'all' and is_ethnic_minority
),

totals as (
    select
        month_end,
        area_code,
        sum(headcount) as denominator
    from {{ ref('int_officer_month') }}
    where rank_group = 'all' and is_known
    group by month_end, area_code
),

residents as (
    select distinct on (period.period_start, period.period_end, population.area_code, population.ethnic_group)
        period.period_start,
        period.period_end,
        population.area_code,
        population.ethnic_group,
        population.census_year,
        population.share
    from {{ ref('int_affected_period') }} as period
    inner join {{ ref('int_population_share') }} as population on period.period_end >= population.used_from
    where period.indicator_id = 'K03'
    order by
        period.period_start asc, period.period_end asc, population.area_code asc, population.ethnic_group asc,
        population.census_year desc
),

counted as (
    select
        residents.period_start,
        residents.period_end,
        residents.area_code,
        residents.ethnic_group,
        residents.census_year,
        residents.share,
        totals.denominator,
        coalesce(sum(groups.headcount), 0) as numerator
    from residents
    inner join totals
        on
            residents.area_code = totals.area_code
            and totals.month_end = least(residents.period_end, (select max(month_end) from {{ ref('int_month') }}))
    left join groups
        on
            totals.month_end = groups.month_end
            and totals.area_code = groups.area_code
            and residents.ethnic_group = groups.ethnic_group
    group by
        residents.period_start, residents.period_end, residents.area_code, residents.ethnic_group,
        residents.census_year, residents.share, totals.denominator
)

{{ observation(
    'K03', 'counted.numerator', 'counted.denominator', dimension="'quarter'",
    basis="'HO_HEADCOUNT, stated; all residents'", feed='hr', area_code='counted.area_code',
    ethnic_group='counted.ethnic_group', comparator_value='counted.share',
    comparator_source="'Census ' || counted.census_year || ', all residents'"
) }}
