-- Events of service under person keys. What two records of one person both tell is one event; a hire that
-- was taken back (a CORR row stands where the hire stood) is none.
{#- Without an index those who were regraded are each looked for in all of them: nobody can tell how few they are. -#}
{{ config(indexes=[{'columns': ['person_key', 'workforce_group', 'event_date']}]) }}
with cancelled as (
    select distinct
        person_id,
        workforce_group,
        effective_start_date
    from {{ ref('stg_hr__assignment') }}
    where assignment_status = 'TERMINATED' and action_code = 'CORR'
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
    and {{ of_persons_tonight('person.person_key') }}
order by
    person.person_key asc, event.workforce_group asc, event.event_type asc, event.event_date asc, event.event_id asc
