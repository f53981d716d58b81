-- Persons who came, went or differ since the last switch; everyone when everything is rebuilt, those who are gone
-- included.
select coalesce(tonight.person_key, switched.person_key) as person_key
from {{ ref('int_person_input') }} as tonight
full outer join
    (
        select standing.*
        from {{ last_switched('person_input', {'person_key': 'uuid', 'input_hash': 'bigint'}) }} as standing
        where {{ of_touched('person', 'standing.person_key') }}
    ) as switched
    on tonight.person_key = switched.person_key
where tonight.input_hash is distinct from switched.input_hash
union
select standing.person_key
from {{ standing_keys('person_input', {'person_key': 'uuid'}) }} as standing
where {{ rebuilds_all() }}
