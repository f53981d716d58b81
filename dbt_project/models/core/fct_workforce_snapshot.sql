with
affected as (
    select month.*
    from {{ ref('int_month') }} as month
    inner join {{ ref('int_affected_workforce_month') }} as affected on month.month_end = affected.month_end
),

counted as (
    {{ workforce_rows('affected') }}
),

keyless as (
    {{ keyless_workforce_rows('affected') }}
)

select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from counted
union all
select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from keyless
