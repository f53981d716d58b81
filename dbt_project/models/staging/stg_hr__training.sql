select
    person_id,
    course_code,
    event_date,
    outcome as training_outcome,
    hours as training_hours,
    is_held
from ({{ known('history', 'hr_training') }}) as known
-- What lies ahead of the business date is booked, not taken.
where event_date <= {{ business_date() }}
