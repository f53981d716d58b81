-- The months in which a place on a course differs between the last switch and tonight; those in which somebody is
-- gone are named however much is rebuilt.
select distinct coalesce(tonight.month_end, switched.month_end) as month_end
from {{ ref('int_training') }} as tonight
full outer join {{ last_switched('fct_training', column_types('fct_training')) }} as switched
    on
        tonight.person_key = switched.person_key
        and tonight.course_code = switched.course_code
        and tonight.event_date = switched.event_date
where {{ rows_differ('fct_training', 'tonight', 'switched') }}
union
select standing.month_end
from {{ standing_keys('fct_training', {'person_key': 'uuid', 'month_end': 'date'}) }} as standing
where standing.person_key not in (select person_key from {{ ref('int_training') }})
