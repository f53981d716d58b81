{{ config(materialized='view', contract={'enforced': false}) }}

-- In a build, the workforce at its business date as known that night. The switch makes a function of it, which takes
-- both dates. Who was erased is counted at the ends of closed months, and at no other day.
with
asked as (
    select
        date_trunc('month', {{ as_at() }})::date as month_start,
        {{ month_end_of(as_at()) }} as month_end,
        {{ as_at() }} as counted_on
),

month_ends as (
    select month_end
    from asked
    where counted_on = month_end
),

counted as (
    {{ workforce_rows('asked') }}
),

keyless as (
    {{ keyless_workforce_rows('month_ends') }}
),

snapshot as (
    select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
    from counted
    union all
    select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
    from keyless
)

select {{ model_columns('headcount_as_known') | join(', ') }}
from ({{ workforce_counts('snapshot') }}) as workforce
