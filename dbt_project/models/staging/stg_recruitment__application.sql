with known as ({{ known('history', 'ats_application') }}
)

select
    application_id,
    candidate_id,
    workforce_group,
    coalesce(entry_route, 'NONE') as entry_route,
    {{ london_date('applied_ts') }} as applied_on,
    source_code,
    current_stage,
    current_status,
    {{ london_date('offer_ts') }} as offered_on,
    start_date as started_on,
    person_id,
    is_held
from known
