-- Places on courses under person keys. A person HR knows by two numbers took a course once in a day: as whichever
-- record has the most hours.
select distinct on (person.person_key, training.course_code, training.event_date)
    person.person_key,
    training.course_code,
    training.event_date,
    (date_trunc('month', training.event_date) + interval '1 month' - interval '1 day')::date as month_end,
    training.training_outcome,
    training.training_hours,
    training.is_held
from {{ ref('stg_hr__training') }} as training
inner join {{ ref('int_person') }} as person on training.person_id = person.person_id
where {{ of_changed_persons('person.person_key') }}
order by
    person.person_key asc, training.course_code asc, training.event_date asc, training.training_hours desc,
    training.training_outcome asc, training.person_id asc
