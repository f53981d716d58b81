-- What happened at each stage of each application. A stage that was passed over although the process has it, and a
-- later one was come to, is read as passed no later than that one's first day. A stage that runs beside another says
-- nothing of it.
with
delivered as (
    -- Of two outcomes told of one attempt the latest holds.
    select distinct on (event.application_id, event.stage_code, event.attempt_no)
        event.application_id,
        process.process_version,
        event.stage_code,
        event.attempt_no,
        event.outcome,
        event.event_on,
        event.is_held,
        stage.stage_order,
        stage.is_parallel
    from {{ ref('stg_recruitment__stage_event') }} as event
    inner join {{ ref('int_application_process') }} as process on event.application_id = process.application_id
    inner join {{ ref('stg_recruitment__application') }} as application
        on event.application_id = application.application_id
    -- A stage that is not of its process keeps its outcome, under no process.
    left join {{ ref('dim_stage') }} as stage
        on process.process_version = stage.process_version and event.stage_code = stage.stage_code
    where
        application.applied_on <= {{ business_date() }}
        and {{ of_changed_applications('event.application_id') }}
    order by
        event.application_id asc, event.stage_code asc, event.attempt_no asc,
        event.modified_ts desc, event.event_ts desc, event.event_id desc
),

come_to as (
    select
        application_id,
        process_version,
        count(distinct stage_code) as stages,
        max(stage_order) as furthest
    from delivered
    where stage_order is not null and process_version <> 'UNKNOWN'
    group by application_id, process_version
),

-- Stages of each process up to each of its stages: whoever has as many has passed over none.
expected as (
    select
        process_version,
        stage_order as furthest,
        count(*) over (partition by process_version order by stage_order) as stages
    from {{ ref('dim_stage') }}
),

passed_over as (
    select
        come_to.application_id,
        stage.process_version,
        stage.stage_code,
        min(later.event_on) as event_on,
        bool_or(later.is_held) as is_held
    from come_to
    inner join expected
        on
            come_to.process_version = expected.process_version
            and come_to.furthest = expected.furthest
            and come_to.stages < expected.stages
    inner join {{ ref('dim_stage') }} as stage
        on come_to.process_version = stage.process_version and come_to.furthest > stage.stage_order
    inner join delivered as later
        on
            come_to.application_id = later.application_id
            and stage.stage_order < later.stage_order
            and not (stage.is_parallel and later.is_parallel)
    where
        not exists (
            select 1
            from delivered as same
            where same.application_id = come_to.application_id and same.stage_code = stage.stage_code
        )
    group by come_to.application_id, stage.process_version, stage.stage_code
)

select
    application_id,
    stage_code,
    attempt_no,
    {{ stage_key("case when stage_order is null then 'UNKNOWN' else process_version end", 'stage_code') }}
        as stage_key,
    outcome,
    event_on,
    false as is_imputed,
    outcome = 'WITHDRAWN' as is_withdrawal,
    is_held
from delivered
union all
select
    application_id,
    stage_code,
    1::smallint,
    {{ stage_key('process_version', 'stage_code') }},
    'PASS',
    event_on,
    true,
    false,
    is_held
from passed_over
