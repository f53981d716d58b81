-- K02: each of the five groups among officers who stated their ethnicity; Black stands on its own, and
-- Mixed is not Black.
with
stated as (
    select
        month_end,
        area_code,
        five_group,
        sum(headcount) as headcount
    from {{ ref('int_officer_month') }}
    where rank_group = 'all' and is_known
    group by month_end, area_code, five_group
),

cells as (
    select
        totals.month_end,
        totals.area_code,
        groups.five_group,
        totals.headcount as denominator
    from (
        select
            month_end,
            area_code,
            sum(headcount) as headcount
        from stated
        group by month_end, area_code
    ) as totals
    cross join (select distinct five_group from {{ ref('dim_ethnicity') }} where is_known) as groups
),

counted as (
    select
        period.period_start,
        period.period_end,
        cells.area_code,
        cells.five_group,
        coalesce(stated.headcount, 0) as numerator,
        cells.denominator
    from {{ ref('int_affected_period') }} as period
    inner join cells on period.period_end = cells.month_end
    left join stated
        on
            cells.month_end = stated.month_end
            and cells.area_code = stated.area_code
            and cells.five_group = stated.five_group
    where period.indicator_id = 'K02'
)

{{ observation(
    'K02', 'counted.numerator', 'counted.denominator', dimension="'month'", basis="'HO_HEADCOUNT, stated'",
    feed='hr', area_code='counted.area_code', ethnic_group='counted.five_group'
) }}
