-- K07: distinct candidates from an ethnic minority among those who stated their ethnicity, by month
-- applied and entry route and by financial year, against all residents of the Met's area.
with
applicant as (
    select
        'month' as period_kind,
        month_end as period_end,
        'all' as entry_route,
        ethnicity_code,
        candidates
    from {{ ref('applicant_month_whole') }}
    where workforce_group = 'OFF'
    union all
    select
        'month',
        month_end,
        entry_route,
        ethnicity_code,
        candidates
    from {{ ref('applicant_route_month_whole') }}
    where workforce_group = 'OFF'
    union all
    select
        'financial_year',
        year_end,
        'all',
        ethnicity_code,
        candidates
    from {{ ref('applicant_year_whole') }}
    where workforce_group = 'OFF'
),

summed as (
    select
        period.period_start,
        period.period_end,
        applicant.period_kind,
        applicant.entry_route,
        coalesce(sum(applicant.candidates) filter (where ethnicity.is_ethnic_minority), 0) as numerator,
        coalesce(sum(applicant.candidates) filter (where ethnicity.is_known), 0) as denominator
    from {{ ref('int_affected_period') }} as period
    inner join applicant
        on period.period_kind = applicant.period_kind and period.period_end = applicant.period_end
    inner join {{ ref('dim_ethnicity') }} as ethnicity on applicant.ethnicity_code = ethnicity.ethnicity_code
    where period.indicator_id = 'K07'
    group by period.period_start, period.period_end, applicant.period_kind, applicant.entry_route
),

counted as (
    select distinct on (summed.period_start, summed.period_end, summed.entry_route)
        summed.*,
        population.share,
        population.census_year
    from summed
    left join {{ ref('int_population_share') }} as population
        on
            population.area_code = 'E23000001'
            and population.ethnic_group = 'Ethnic minority'
            and summed.period_end >= population.used_from
    order by summed.period_start asc, summed.period_end asc, summed.entry_route asc, population.census_year desc
)

{{ observation(
    'K07', 'counted.numerator', 'counted.denominator',
    dimension="counted.period_kind || '; route ' || counted.entry_route",
    basis="'distinct candidates, stated; all residents'", feed='recruitment',
    ethnic_group="'Ethnic minority'", comparator_value='counted.share',
    comparator_source="'Census ' || counted.census_year || ', all residents'"
) }}
