with
moved as (
    {{ movement_rows() }}
),

keyless as (
    {{ keyless_rows('fct_workforce_movement') }}
)

select {{ model_columns('fct_workforce_movement') | join(', ') }}
from moved
where month_end in (select month_end from {{ ref('int_affected_movement_month') }})
union all
select {{ model_columns('fct_workforce_movement') | join(', ') }}
from keyless
where month_end in (select month_end from {{ ref('int_affected_movement_month') }})
