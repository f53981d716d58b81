-- A hash of everything the star says about a person: whoever's hash differs from the one of the last
-- switch has changed. Where a person is posted is part of it, so a moved unit changes its people.
with
org_unit as (
    select
        org_unit_id,
        string_agg(
            concat_ws(chr(31), org_type, bcu_code, borough_code, effective_start_date, effective_end_date),
            chr(30) order by effective_start_date
        ) as placed
    from {{ ref('stg_hr__org_unit') }}
    group by org_unit_id
),

facts as (
    select
        assignment.person_key,
        concat_ws(
            chr(31), 'a', assignment.assignment_id, assignment.is_primary, assignment.assignment_status,
            assignment.workforce_group, assignment.rank_code, assignment.rank_basis, assignment.band,
            assignment.org_unit_id, assignment.fte, assignment.hours_basis, assignment.valid_from,
            assignment.valid_to, assignment.is_held, org_unit.placed
        ) as fact
    from {{ ref('int_assignment') }} as assignment
    left join org_unit on assignment.org_unit_id = org_unit.org_unit_id
    union all
    select
        person_key,
        concat_ws(chr(31), 'd', sex_code, date_of_birth, is_held)
    from {{ ref('int_person_detail') }}
    union all
    select
        person_key,
        concat_ws(chr(31), 'e', ethnicity_code, valid_from)
    from {{ ref('int_ethnicity_period') }}
    union all
    select
        person_key,
        concat_ws(
            chr(31), 's', event_id, event_type, workforce_group, event_date, joiner_type, entry_route,
            leaving_reason_code, is_held
        )
    from {{ ref('int_service_event') }}
),

hashed as (
    select
        person_key,
        sha256(convert_to(fact, 'UTF8')) as fact_hash
    from facts
)

select
    person_key,
    encode(substr(sha256(string_agg(fact_hash, ''::bytea order by fact_hash)), 1, 16), 'hex') as input_hash
from hashed
group by person_key
