-- K01: officers from an ethnic minority (excluding White minorities), of those who stated their
-- ethnicity; beside it the same of all officers, which differs by the share not stated.
with
counted as (
    select
        period.period_start,
        period.period_end,
        officer.area_code,
        officer.rank_group,
        basis.basis,
        sum(officer.headcount) filter (where officer.is_ethnic_minority) as numerator,
        sum(officer.headcount) filter (where officer.is_known or basis.basis = 'HO_HEADCOUNT, all') as denominator
    from {{ ref('int_affected_period') }} as period
    inner join {{ ref('int_officer_month') }} as officer on period.period_end = officer.month_end
    cross join (values ('HO_HEADCOUNT, stated'), ('HO_HEADCOUNT, all')) as basis (basis)
    where period.indicator_id = 'K01'
    group by period.period_start, period.period_end, officer.area_code, officer.rank_group, basis.basis
)

{{ observation(
    'K01', 'coalesce(counted.numerator, 0)', 'coalesce(counted.denominator, 0)',
    dimension="'month'", basis='counted.basis', feed='hr',
    area_code='counted.area_code', rank_group='counted.rank_group', ethnic_group="'Ethnic minority'"
) }}
