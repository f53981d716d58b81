select
    event_id,
    application_id,
    stage_code,
    outcome,
    {{ london_date('event_ts') }} as event_on,
    event_ts,
    attempt_no,
    last_modified_ts as modified_ts,
    is_held
from ({{ known('history', 'ats_stage_event') }}) as known
