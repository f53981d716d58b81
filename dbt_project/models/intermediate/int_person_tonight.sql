-- Persons whose lines of time are drawn on a night that does not draw everyone's: who changed, and of whom something
-- is in quarantine.
select person_key
from {{ ref('int_changed_person') }}
union
select person_key
from {{ ref('int_held_person') }}
