-- (UNKNOWN) is for applications that name no campaign, or one that is not delivered.
select
    campaign_id,
    campaign_name,
    opens_on,
    closes_on,
    target_volume,
    process_version,
    true as is_known
from {{ ref('stg_recruitment__campaign') }}
union all
select
    '(UNKNOWN)',
    'Not known',
    null,
    null,
    null,
    'UNKNOWN',
    false
