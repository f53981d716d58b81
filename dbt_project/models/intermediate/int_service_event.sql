-- Events of service under person keys. What two records of one person both tell is one event; a hire that
-- was taken back (a CORR row stands where the hire stood) is none; and who serves in the group under another number
-- the day before joining, or on the day of leaving, neither joins nor leaves.
{#- Without an index those who were regraded are each looked for in all of them: nobody can tell how few they are. -#}
{{ config(indexes=[{'columns': ['person_key', 'workforce_group', 'event_date']}]) }}
with cancelled as (
    select distinct
        person_id,
        workforce_group,
        effective_start_date
    from {{ ref('stg_hr__assignment') }}
    where assignment_status = 'TERMINATED' and action_code = 'CORR'
),

several as (
    select person_key
    from {{ ref('int_person') }}
    group by person_key
    having count(*) > 1
),

served as (
    select
        person.person_key,
        assignment.person_id,
        assignment.workforce_group,
        assignment.effective_start_date as first_day,
        coalesce(assignment.effective_end_date, 'infinity'::date) as last_day
    from several
    inner join {{ ref('int_person') }} as person on several.person_key = person.person_key
    inner join {{ ref('stg_hr__assignment') }} as assignment on person.person_id = assignment.person_id
    where assignment.assignment_status <> 'TERMINATED'
)

select distinct on (person.person_key, event.workforce_group, event.event_type, event.event_date)
    event.event_id,
    person.person_key,
    event.event_type,
    event.workforce_group,
    event.event_date,
    event.joiner_type,
    event.entry_route,
    event.leaving_reason_code,
    event.is_held
from {{ ref('stg_hr__service_event') }} as event
inner join {{ ref('int_person') }} as person on event.person_id = person.person_id
left join cancelled
    on
        event.person_id = cancelled.person_id
        and event.workforce_group = cancelled.workforce_group
        and event.event_date = cancelled.effective_start_date
        and event.event_type in ('JOIN', 'TRANSFER_IN', 'REJOIN')
where
    cancelled.person_id is null
    and not exists (
        select 1
        from served
        where
            served.person_key = person.person_key
            and served.person_id <> event.person_id
            and served.workforce_group = event.workforce_group
            and case
                when event.event_type in ('JOIN', 'TRANSFER_IN', 'REJOIN')
                    then event.event_date - 1 between served.first_day and served.last_day
                when event.event_type in ('LEAVE', 'TRANSFER_OUT')
                    then event.event_date between served.first_day and served.last_day
                else false
            end
    )
    and {{ of_persons_tonight('person.person_key') }}
order by
    person.person_key asc, event.workforce_group asc, event.event_type asc, event.event_date asc, event.event_id asc
