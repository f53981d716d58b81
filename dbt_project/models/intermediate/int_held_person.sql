-- Persons of whom HR delivered something that is in quarantine, whether an earlier version of it counts or
-- none was ever accepted.
select person.person_key
from {{ ref('stg_hr__person') }} as record
inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
where record.is_held
union
select person.person_key
from {{ ref('stg_hr__assignment') }} as record
inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
where record.is_held
union
select person.person_key
from {{ ref('stg_hr__sensitive') }} as record
inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
where record.is_held
union
select person.person_key
from {{ ref('stg_hr__service_event') }} as record
inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
where record.is_held
union
select person.person_key
from {{ source('history', 'hr_person_held') }} as held
inner join {{ ref('int_person') }} as person on held.person_id = person.person_id
where
    held.held_from <= {{ business_date() }}
    and (held.held_to is null or held.held_to > {{ business_date() }})
union
select person.person_key
from {{ source('history', 'hr_assignment_held') }} as held
inner join {{ ref('int_person') }} as person on held.person_id = person.person_id
where
    held.held_from <= {{ business_date() }}
    and (held.held_to is null or held.held_to > {{ business_date() }})
union
select person.person_key
from {{ source('history', 'hr_service_event_held') }} as held
inner join {{ ref('int_person') }} as person on held.person_id = person.person_id
where
    held.held_from <= {{ business_date() }}
    and (held.held_to is null or held.held_to > {{ business_date() }})
