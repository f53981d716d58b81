-- How each count of heads came from the month before to this one. The first month has none before it.
-- What is not explained is nought, or rows are missing that nobody holds back.
with
affected as (
    select
        month.month_end,
        month.month_start - 1 as opened_on
    from {{ ref('int_month') }} as month
    inner join {{ ref('int_affected_roll_forward_month') }} as affected on month.month_end = affected.month_end
    where month.month_end > (select min(month_end) from {{ ref('int_month') }})
),

stock as (
    select
        workforce.month_end,
        counted.count_basis,
        workforce.workforce_group,
        ethnicity.five_group,
        sum(counted.heads) as heads
    from {{ ref('workforce_month_whole') }} as workforce
    inner join {{ ref('dim_ethnicity') }} as ethnicity on workforce.ethnicity_code = ethnicity.ethnicity_code
    cross join {{ count_bases('workforce.headcount', 'workforce.working_strength') }}
    where {{ among('workforce.month_end', 'select month_end from affected union all select opened_on from affected') }}
    group by workforce.month_end, counted.count_basis, workforce.workforce_group, ethnicity.five_group
),

moved as (
    select
        movement.month_end,
        counted.count_basis,
        movement.workforce_group,
        ethnicity.five_group,
        movement.movement_type,
        sum(counted.heads) as heads
    from {{ ref('movement_month_whole') }} as movement
    inner join {{ ref('dim_ethnicity') }} as ethnicity on movement.ethnicity_code = ethnicity.ethnicity_code
    cross join {{ count_bases('movement.headcount_movements', 'movement.working_movements') }}
    where {{ among('movement.month_end', 'select month_end from affected') }}
    group by
        movement.month_end,
        counted.count_basis,
        movement.workforce_group,
        ethnicity.five_group,
        movement.movement_type
),

kept_stock as (
    {{ keyless_rows('fct_workforce_snapshot') }}
),

kept_moved as (
    {{ keyless_rows('fct_workforce_movement') }}
),

-- Who was erased is counted in closed months still, and in none after them.
kept as (
    {{ heads_missing('kept_stock', 'kept_moved') }}
),

parts as (
    select
        affected.month_end,
        stock.count_basis,
        stock.workforce_group,
        stock.five_group,
        'opening' as part,
        stock.heads
    from affected
    inner join stock on affected.opened_on = stock.month_end
    union all
    select
        affected.month_end,
        stock.count_basis,
        stock.workforce_group,
        stock.five_group,
        'closing',
        stock.heads
    from affected
    inner join stock on affected.month_end = stock.month_end
    union all
    select
        month_end,
        count_basis,
        workforce_group,
        five_group,
        movement_type,
        heads
    from moved
    where heads <> 0
    union all
    select
        held.month_end,
        held.count_basis,
        held.workforce_group,
        held.five_group,
        'held',
        held.held_heads
    from {{ ref('int_held_difference') }} as held
    inner join affected on held.month_end = affected.month_end
    union all
    select
        kept.month_end,
        kept.count_basis,
        kept.workforce_group,
        kept.five_group,
        'erased',
        kept.heads
    from kept
    inner join affected on kept.month_end = affected.month_end
),

summed as (
    select
        month_end,
        count_basis,
        workforce_group,
        five_group,
    {%- for part, name in {
        'opening': 'opening', 'join': 'joiners', 'move_in': 'moves_in', 'reclassify_in': 'reclassified_in',
        'leave': 'leavers', 'move_out': 'moves_out', 'reclassify_out': 'reclassified_out', 'held': 'held_heads',
        'erased': 'erased_heads', 'closing': 'closing'
    }.items() %}
        coalesce(sum(heads) filter (where part = '{{ part }}'), 0)::integer as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
    from parts
    group by month_end, count_basis, workforce_group, five_group
)

select
    month_end,
    count_basis,
    workforce_group,
    five_group,
    opening,
    joiners,
    moves_in,
    reclassified_in,
    leavers,
    moves_out,
    reclassified_out,
    held_heads,
    erased_heads,
    closing,
    closing
    - (opening + joiners + moves_in + reclassified_in - leavers - moves_out - reclassified_out)
    + held_heads
    + erased_heads as unexplained
from summed
