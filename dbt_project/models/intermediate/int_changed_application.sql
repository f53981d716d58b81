-- Applications that came, went or differ since the last switch; all when everything is rebuilt, those that are gone
-- included.
select coalesce(tonight.application_id, switched.application_id) as application_id
from {{ ref('int_application_input') }} as tonight
full outer join
    (
        select standing.*
        from {{ last_switched('application_input', {'application_id': 'uuid', 'input_hash': 'bigint'}) }} as standing
        where {{ of_touched('application', 'standing.application_id') }}
    ) as switched
    on tonight.application_id = switched.application_id
where tonight.input_hash is distinct from switched.input_hash
union
select standing.application_id
from {{ standing_keys('application_input', {'application_id': 'uuid'}) }} as standing
where {{ rebuilds_all() }}
