-- The heads of each month as readers would see them tonight beside those they see now. Months that are not
-- counted again may not differ, and each month opens with as many as the one before it closed with.
with
tonight as (
    select
        month_end,
        sum(opening) as opening,
        sum(closing) as closing
    from {{ ref('roll_forward_whole') }}
    where count_basis = 'HO_HEADCOUNT'
    group by month_end
),

switched as (
    select
        month_end,
        sum(closing) as closing
    from
        {{ last_switched('roll_forward', {'month_end': 'date', 'count_basis': 'text', 'closing': 'integer'}) }}
            as roll_forward
    where count_basis = 'HO_HEADCOUNT'
    group by month_end
),

month as (
    select
        month.month_end,
        -- The first month is not rolled forward: it is what the second opens with.
        coalesce(tonight.closing, later.opening, 0) as heads_tonight,
        coalesce(switched.closing, later.opening, 0) as heads_switched,
        coalesce(later.opening - coalesce(tonight.closing, later.opening), 0) as heads_between,
        affected.month_end is not null as is_affected
    from {{ ref('int_month') }} as month
    left join tonight on month.month_end = tonight.month_end
    left join tonight as later on {{ month_end_of('month.month_end + 1') }} = later.month_end
    left join switched on month.month_end = switched.month_end
    left join {{ ref('int_affected_workforce_month') }} as affected on month.month_end = affected.month_end
)

select
    month_end,
    heads_tonight::integer as heads_tonight,
    heads_switched::integer as heads_switched,
    is_affected,
    case
        when not is_affected and heads_tonight <> heads_switched then heads_tonight - heads_switched
        else heads_between
    end::integer as unexpected_heads
from month
