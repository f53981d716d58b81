-- Every period an indicator is stated for. A period still open is keyed by its last day.
with months as (
    select
        month_start,
        month_end
    from {{ ref('int_month') }}
)

select
    'month' as period_kind,
    month_start as period_start,
    month_end as period_end
from months
union all
select
    'quarter',
    date_trunc('quarter', month_start)::date,
    (date_trunc('quarter', month_start) + interval '3 months' - interval '1 day')::date
from months
group by date_trunc('quarter', month_start)
union all
select
    'financial_year',
    (date_trunc('year', month_start - interval '3 months') + interval '3 months')::date,
    (date_trunc('year', month_start - interval '3 months') + interval '15 months' - interval '1 day')::date
from months
group by date_trunc('year', month_start - interval '3 months')
union all
select
    'rolling_12_months',
    (month_start - interval '11 months')::date,
    month_end
from months
where month_start >= date '2013-03-01'
