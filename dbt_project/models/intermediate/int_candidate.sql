-- A candidate who was hired is the person HR knows; any other candidate is a person of their own.
select
    candidate.candidate_id,
    coalesce(min(person.person_key::text)::uuid, {{ person_key('candidate.candidate_id') }}) as person_key
from {{ ref('stg_recruitment__candidate') }} as candidate
left join {{ ref('stg_recruitment__application') }} as application
    on candidate.candidate_id = application.candidate_id
left join {{ ref('int_person') }} as person on application.person_id = person.person_id
group by candidate.candidate_id
