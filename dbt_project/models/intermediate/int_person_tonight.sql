-- Persons whose lines of time are drawn tonight: who changed, and of whom something is in quarantine; everyone when a
-- month opens or everything is rebuilt.
select person_key
from {{ ref('int_changed_person') }}
union
select person_key
from {{ ref('int_held_person') }}
union
select person_key
from {{ ref('int_person') }}
where {{ everyone_is_counted() }}
