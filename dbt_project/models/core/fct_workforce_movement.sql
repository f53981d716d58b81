with
affected as (
    select month.*
    from {{ ref('int_month') }} as month
    inner join {{ ref('int_affected_movement_month') }} as affected on month.month_end = affected.month_end
),

counted as (
    {{ movement_rows('affected', none if everyone_is_counted() else ref('int_changed_person')) }}
),

unchanged as (
    {{ unchanged_rows('fct_workforce_movement', 'affected') }}
),

keyless as (
    {{ keyless_rows('fct_workforce_movement') }}
)

select {{ model_columns('fct_workforce_movement') | join(', ') }}
from counted
union all
select {{ model_columns('fct_workforce_movement') | join(', ') }}
from unchanged
union all
select
    movement_key,
    event_id,
    month_end,
    event_date,
    person_key,
    movement_type,
    -- What was kept before a column came to be says nothing of it.
    coalesce(movement_kind, 'not kept') as movement_kind,
    workforce_group,
    {{ movement_attributes('keyless') }},
    coalesce(rank_code, case when workforce_group = 'OFF' then 'UNK' else 'NONE' end) as rank_code,
    ethnicity_code,
    sex_code,
    coalesce(is_ho_headcount, true) as is_ho_headcount,
    coalesce(is_working_strength, true) as is_working_strength,
    is_held
from keyless
where month_end in (select month_end from affected)
