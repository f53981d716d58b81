-- Each row is a period of an indicator that is computed again tonight. An indicator declares its window:
-- an affected month affects every period whose window holds it.
with
indicator (indicator_id, period_kind, stands_on, has_comparator) as (
    values
    ('K01', 'month', 'workforce', false),
    ('K02', 'month', 'workforce', false),
    ('K03', 'quarter', 'workforce', true),
    ('K05', 'month', 'workforce', false),
    ('K07', 'month', 'application', true),
    ('K07', 'financial_year', 'application', true),
    ('K08', 'financial_year', 'movement', false),
    ('K08', 'rolling_12_months', 'movement', false)
),

affected (stands_on, month_end) as (
    select
        'workforce',
        month_end
    from {{ ref('int_affected_workforce_month') }}
    union all
    select
        'movement',
        month_end
    from {{ ref('int_affected_movement_month') }}
    union all
    select
        'application',
        month_end
    from {{ ref('int_affected_applied_month') }}
)

select distinct
    indicator.indicator_id,
    indicator.period_kind,
    period.period_start,
    period.period_end
from indicator
inner join {{ ref('int_period') }} as period on indicator.period_kind = period.period_kind
where
    exists (
        select 1
        from affected
        where
            affected.stands_on = indicator.stands_on
            and affected.month_end between period.period_start and period.period_end
    )
    or (indicator.has_comparator and (select is_changed from {{ ref('int_population_changed') }}))
