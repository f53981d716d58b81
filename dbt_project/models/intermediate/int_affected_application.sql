-- Applications that came, went or differ since the last switch, in themselves or at a stage, with the months they
-- are or were counted in. Those that are gone are named however much is rebuilt.
with
differing as (
    select
        coalesce(tonight.application_id, switched.application_id) as application_id,
        tonight.applied_month_end,
        switched.applied_month_end as switched_month_end
    from {{ ref('int_application') }} as tonight
    full outer join
        (
            select standing.*
            from {{ last_switched('fct_application', column_types('fct_application')) }} as standing
            where {{ of_changed_applications('standing.application_id') }}
        ) as switched
        on tonight.application_id = switched.application_id
    where {{ rows_differ('fct_application', 'tonight', 'switched') }}
),

differing_stage as (
    select coalesce(tonight_stage.application_id, switched_stage.application_id) as application_id
    from {{ ref('int_application_stage') }} as tonight_stage
    full outer join
        (
            select standing.*
            from {{ last_switched('fct_application_stage', column_types('fct_application_stage')) }} as standing
            where {{ of_changed_applications('standing.application_id') }}
        ) as switched_stage
        on
            tonight_stage.application_id = switched_stage.application_id
            and tonight_stage.stage_code = switched_stage.stage_code
            and tonight_stage.attempt_no = switched_stage.attempt_no
    where {{ rows_differ('fct_application_stage', 'tonight_stage', 'switched_stage') }}
),

gone as (
    select
        standing.application_id,
        standing.applied_month_end
    from
        {{ standing_keys('fct_application', {'application_id': 'uuid', 'applied_month_end': 'date'}) }} as standing
    where
        {{ of_changed_applications('standing.application_id') }}
        and not exists (
            select 1 from {{ ref('int_application') }} as tonight
            where tonight.application_id = standing.application_id
        )
)

select
    application_id,
    applied_month_end
from differing
where applied_month_end is not null
union
select
    application_id,
    switched_month_end
from differing
where switched_month_end is not null
union
select
    application_id,
    applied_month_end
from gone
union
select
    application_id,
    applied_month_end
from {{ ref('int_application') }}
where application_id in (select application_id from differing_stage)
