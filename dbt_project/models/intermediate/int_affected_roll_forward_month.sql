-- The months that are rolled forward again: those whose workforce or movements differ, the month after one
-- whose workforce does, and those that differ in what is explained by rows in quarantine.
{%- set cells = {
    'month_end': 'date', 'count_basis': 'text', 'workforce_group': 'text', 'five_group': 'text', 'held_heads': 'integer'
} %}
with
tonight as (
    select {{ cells.keys() | join(', ') }} from {{ ref('int_held_difference') }}
),

switched as (
    select *
    from {{ last_switched('roll_forward', cells) }} as cell
    where held_heads <> 0
),

differing as (
    (
        select * from tonight
        except
        select * from switched
    )
    union all
    (
        select * from switched
        except
        select * from tonight
    )
)

select month_end
from {{ ref('int_month') }}
where
    month_end in (select month_end from {{ ref('int_affected_workforce_month') }})
    or month_start - 1 in (select month_end from {{ ref('int_affected_workforce_month') }})
    or month_end in (select month_end from {{ ref('int_affected_movement_month') }})
    or month_end in (select month_end from differing)
