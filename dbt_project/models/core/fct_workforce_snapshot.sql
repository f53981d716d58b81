with
affected as (
    select month.*
    from {{ ref('int_month') }} as month
    inner join {{ ref('int_affected_workforce_month') }} as affected on month.month_end = affected.month_end
),

counted as (
    {{ workforce_rows('affected', none if everyone_is_counted() else ref('int_changed_person')) }}
),

unchanged as (
    {{ unchanged_rows('fct_workforce_snapshot', 'affected') }}
),

keyless as (
    {{ keyless_workforce_rows('affected') }}
)

select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from counted
union all
select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from unchanged
union all
select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from keyless
