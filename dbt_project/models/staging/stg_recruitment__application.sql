select
    application_id,
    candidate_id,
    campaign_id,
    workforce_group,
    coalesce(entry_route, case when workforce_group = 'OFF' then 'UNK' else 'NONE' end) as entry_route,
    {{ london_date('registered_interest_ts') }} as registered_on,
    {{ london_date('applied_ts') }} as applied_on,
    lrc_basis,
    lrc_pass,
    source_code,
    -- Whether somebody led the candidate here, not who: the ambassador's token goes no further.
    referral_ambassador_id is not null as is_referred_by_ambassador,
    referral_event_id is not null as is_referred_by_event,
    current_stage,
    current_status,
    {{ london_date('offer_ts') }} as offered_on,
    start_date as start_planned_on,
    person_id,
    is_held
from ({{ known('history', 'ats_application') }}) as known
