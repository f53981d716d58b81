-- K05: women among officers whose sex is recorded in HR as female or male.
with counted as (
    select
        period.period_start,
        period.period_end,
        officer.area_code,
        officer.rank_group,
        coalesce(sum(officer.headcount) filter (where officer.sex_code = 'F'), 0) as numerator,
        coalesce(sum(officer.headcount) filter (where officer.sex_code in ('F', 'M')), 0) as denominator
    from {{ ref('int_affected_period') }} as period
    inner join {{ ref('int_officer_month') }} as officer on period.period_end = officer.month_end
    where period.indicator_id = 'K05'
    group by period.period_start, period.period_end, officer.area_code, officer.rank_group
)

{{ observation(
    'K05', 'counted.numerator', 'counted.denominator', dimension="'month'",
    basis="'HO_HEADCOUNT, sex recorded'", feed='hr', area_code='counted.area_code',
    rank_group='counted.rank_group', sex="'F'"
) }}
