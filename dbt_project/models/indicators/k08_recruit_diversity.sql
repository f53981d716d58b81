-- K08: joining officers from an ethnic minority among those who stated their ethnicity. The headline
-- leaves out transfers from other forces; all joiners stand beside it. From 2022 the ambition is 40%.
with
joiner as (
    select
        movement.month_end,
        scope.scope,
        ethnicity.is_ethnic_minority,
        ethnicity.is_known,
        movement.movements
    from {{ ref('movement_month_whole') }} as movement
    inner join {{ ref('dim_ethnicity') }} as ethnicity on movement.ethnicity_code = ethnicity.ethnicity_code
    cross join (values ('excluding transfers'), ('all joiners')) as scope (scope)
    where
        movement.movement_type = 'join'
        and movement.workforce_group = 'OFF'
        and (scope.scope = 'all joiners' or movement.joiner_type <> 'TRANSFER')
),

counted as (
    select
        period.period_start,
        period.period_end,
        period.period_kind,
        joiner.scope,
        coalesce(sum(joiner.movements) filter (where joiner.is_ethnic_minority), 0) as numerator,
        coalesce(sum(joiner.movements) filter (where joiner.is_known), 0) as denominator,
        max(target.target) as target
    from {{ ref('int_affected_period') }} as period
    inner join joiner on joiner.month_end between period.period_start and period.period_end
    left join {{ ref('ref_target') }} as target
        on
            target.indicator_id = 'K08'
            and joiner.scope = target.dimension
            and period.period_start >= target.from_date
    where period.indicator_id = 'K08'
    group by period.period_start, period.period_end, period.period_kind, joiner.scope
)

{{ observation(
    'K08', 'counted.numerator', 'counted.denominator',
    dimension="counted.period_kind || '; ' || counted.scope", basis="'joiners, stated'", feed='hr',
    ethnic_group="'Ethnic minority'", target='counted.target'
) }}
