select
    campaign_id,
    campaign_name,
    open_date as opens_on,
    close_date as closes_on,
    target_volume,
    process_version,
    is_held
from ({{ known('history', 'ats_campaign') }}) as known
