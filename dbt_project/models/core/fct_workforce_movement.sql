with moved as (
    {{ movement_rows() }}
)

select {{ model_columns('fct_workforce_movement') | join(', ') }}
from moved
where month_end in (select month_end from {{ ref('int_affected_movement_month') }})
