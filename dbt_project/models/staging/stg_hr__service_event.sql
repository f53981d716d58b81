select
    event_id,
    person_id,
    event_type,
    workforce_group,
    event_date,
    joiner_type,
    entry_route,
    leaving_reason_code,
    is_held
from ({{ known('history', 'hr_service_event') }}) as known
-- A starter of a later day is pending, not counted.
where event_date <= {{ business_date() }}
