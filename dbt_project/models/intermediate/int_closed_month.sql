-- The heads of each month as readers would see them tonight beside those they see now. Months that are not
-- counted again may not differ.
with
tonight as (
    select
        month_end,
        sum(headcount) as heads
    from {{ ref('workforce_month_whole') }}
    group by month_end
),

switched as (
    select
        month_end,
        sum(headcount) as heads
    from {{ last_switched('workforce_month', {'month_end': 'date', 'headcount': 'integer'}) }} as workforce
    group by month_end
)

select
    month.month_end,
    coalesce(tonight.heads, 0)::integer as heads_tonight,
    switched.heads::integer as heads_switched,
    affected.month_end is not null as is_affected,
    case
        when affected.month_end is null then coalesce(tonight.heads, 0) - coalesce(switched.heads, 0)
        else 0
    end::integer as unexpected_heads
from {{ ref('int_month') }} as month
left join tonight on month.month_end = tonight.month_end
left join switched on month.month_end = switched.month_end
left join {{ ref('int_affected_workforce_month') }} as affected on month.month_end = affected.month_end
