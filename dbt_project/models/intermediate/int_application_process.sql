-- Each application with the version of the process it went through; UNKNOWN where its campaign or the process of
-- its campaign is not known.
select
    application.application_id,
    coalesce(campaign.campaign_id, '(UNKNOWN)') as campaign_id,
    coalesce(process.process_version, 'UNKNOWN') as process_version
from {{ ref('stg_recruitment__application') }} as application
left join {{ ref('dim_campaign') }} as campaign on application.campaign_id = campaign.campaign_id
left join (select distinct process_version from {{ ref('ref_process_stage') }}) as process
    on campaign.process_version = process.process_version
where {{ of_changed_applications('application.application_id') }}
