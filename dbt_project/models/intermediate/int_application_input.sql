-- A number made of everything the star says of an application comes from: the application in every version, as its
-- start may have been moved and moved back, and its outcomes at stages, its candidate in every version, where they lived
-- and who they are, its campaign and its source. One whose number differs from that of the last switch has changed.
-- What erased people have left is named too. Those alone that may have changed, unless history was written anew.
with
candidate_version as (
    select
        version.candidate_id,
        bit_xor(hashint8extended(
            substr(version.row_hash, 1, 8)::bigint,
            hashtextextended(concat_ws(chr(31), version.known_from, sector.area_code), 0)
        )) as mark
    from {{ source('sensitive', 'history_ats_candidate') }} as version
    left join {{ ref('stg_postcode__sector') }} as sector
        on version.postcode_sector = sector.sector and sector.is_main_area
    where
        version.known_from <= {{ business_date() }}
        and {{ of_touched('candidate', 'version.candidate_id') }}
    group by version.candidate_id
),

application_version as (
    select
        application_id,
        count(*) as versions
    from {{ source('history', 'ats_application') }}
    where
        known_from <= {{ business_date() }}
        and {{ of_touched('application', 'application_id') }}
    group by application_id
),

marks as (
    select
        application.application_id,
        hashtextextended(
            concat_ws(
                chr(31), application.mark, own_version.versions, version.mark, candidate.person_key,
                campaign.process_version, source.source_category
            ),
            0
        ) as mark
    from (
        {{ marked('history', 'ats_application', [london_date('known.applied_ts')]) }}
    ) as application
    left join candidate_version as version on application.candidate_id = version.candidate_id
    left join application_version as own_version on application.application_id = own_version.application_id
    left join {{ ref('int_candidate') }} as candidate on application.candidate_id = candidate.candidate_id
    left join {{ ref('dim_campaign') }} as campaign on application.campaign_id = campaign.campaign_id
    left join {{ ref('dim_source') }} as source on application.source_code = source.source_code
    where {{ of_touched('application', 'application.application_id') }}
    union all
    select
        application_id,
        mark
    from ({{ marked('history', 'ats_stage_event') }})
    where {{ of_touched('application', 'application_id') }}
    union all
    select
        row_id,
        hashtextextended(attributes::text, 0)
    from {{ source('keyless', 'fact_row') }}
    where
        fact = 'fct_application' and request_id is null
        and {{ of_touched('application', 'row_id') }}
)

select
    application_id,
    bit_xor(mark) as input_hash
from marks
group by application_id
