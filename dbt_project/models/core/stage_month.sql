-- First attempts by how they ended, and what people who were erased have left.
with
counted as (
    select
        (date_trunc('month', stage.event_on) + interval '1 month' - interval '1 day')::date as month_end,
        application.workforce_group,
        stage.stage_key,
        application.ethnicity_code,
        application.sex_code,
        1 as first_attempts,
        (stage.outcome = 'PASS')::integer as passed,
        (stage.outcome = 'FAIL')::integer as failed,
        stage.is_withdrawal::integer as withdrawn,
        (stage.outcome in ('NO_SHOW', 'DEFERRED', 'EXPIRED'))::integer as otherwise_ended,
        stage.is_imputed::integer as imputed
    from {{ ref('fct_application_stage_whole') }} as stage
    inner join {{ ref('fct_application_whole') }} as application
        on stage.application_id = application.application_id
    where
        stage.attempt_no = 1
        and {{ among('stage.event_on', 'select day.date_day from ' ~ ref('dim_date') ~ ' as day
            where day.month_end in (select affected.month_end from ' ~ ref('int_affected_stage_month') ~ ' as affected)') }}
),

keyless as (
    {{ keyless_rows('stage_month') }}
),

whole as (
    select {{ model_columns('stage_month') | join(', ') }} from counted
    union all
    select {{ model_columns('stage_month') | join(', ') }} from keyless
    where month_end in (select month_end from {{ ref('int_affected_stage_month') }})
)

select
    month_end,
    workforce_group,
    stage_key,
    ethnicity_code,
    sex_code,
    sum(first_attempts)::integer as first_attempts,
    sum(passed)::integer as passed,
    sum(failed)::integer as failed,
    sum(withdrawn)::integer as withdrawn,
    sum(otherwise_ended)::integer as otherwise_ended,
    sum(imputed)::integer as imputed
from whole
group by month_end, workforce_group, stage_key, ethnicity_code, sex_code
