-- Registrations of one candidate are one person: those with the same e-mail address, telephone and date of birth,
-- as last known before the source made them anonymous. A candidate who was hired is the person HR knows; any other
-- has the key of the earliest registration. Those alone who may have changed since the last switch, whole groups of them,
-- unless history was written anew.
with
identity as (
    select distinct on (candidate_id)
        candidate_id,
        concat_ws(chr(31), email_hash, phone_hash, date_of_birth) as identifiers
    from {{ ref('stg_recruitment__candidate_version') }}
    where
        email_hash is not null and phone_hash is not null and date_of_birth is not null
        and {{ of_touched('candidate', 'candidate_id') }}
    order by candidate_id asc, known_from desc
),

hired as (
    select
        application.candidate_id,
        min(person.person_key::text) as person_key
    from {{ ref('stg_recruitment__application') }} as application
    inner join {{ ref('int_person') }} as person on application.person_id = person.person_id
    where {{ of_touched('candidate', 'application.candidate_id') }}
    group by application.candidate_id
),

registration as (
    select
        candidate.candidate_id,
        candidate.created_ts,
        hired.person_key,
        coalesce(identity.identifiers, candidate.candidate_id) as same_person
    from {{ ref('stg_recruitment__candidate') }} as candidate
    left join identity on candidate.candidate_id = identity.candidate_id
    left join hired on candidate.candidate_id = hired.candidate_id
    where {{ of_touched('candidate', 'candidate.candidate_id') }}
)

select
    candidate_id,
    {{ person_key('candidate_id') }} as candidate_key,
    coalesce(
        min(person_key) over (partition by same_person)::uuid,
        {{ person_key(
            'first_value(candidate_id) over (
                partition by same_person
                order by created_ts nulls last, candidate_id
            )'
        ) }}
    ) as person_key
from registration
