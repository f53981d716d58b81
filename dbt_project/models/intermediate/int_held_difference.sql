-- What the roll-forward lacks of people of whom something is in quarantine: their months are worked out alone.
with
stock as (
    {{ workforce_rows(ref('int_month'), ref('int_held_person')) }}
),

moved as (
    {{ movement_rows(ref('int_month'), ref('int_held_person')) }}
),

missing as (
    {{ heads_missing('stock', 'moved') }}
)

select
    month_end,
    count_basis,
    workforce_group,
    five_group,
    heads::integer as held_heads
from missing
