-- Applications with the day each stage was first passed and the candidate as known when they applied, and what
-- people who were erased have left. A stage that is read as passed has no day here.
with
passed as (
    select
        application_id,
        max(event_on) filter (where outcome = 'WITHDRAWN') as withdrawn_on,
    {% for stage in ['SIFT', 'ASSESS', 'VET', 'OFFER'] -%}
        min(event_on) filter (where stage_code = '{{ stage }}' and outcome = 'PASS')
            as {{ stage | lower }}_passed_on{{ ',' if not loop.last }}
    {% endfor %}
    from {{ ref('int_application_stage') }}
    where not is_imputed
    group by application_id
),

-- How often a day to start on was put off or brought forward.
moved as (
    select
        application_id,
        (count(*) filter (where start_date <> former_start_date))::smallint as start_moves
    from (
        select
            application_id,
            start_date,
            lag(start_date) over (partition by application_id order by known_from) as former_start_date
        from {{ source('history', 'ats_application') }}
        where
            start_date is not null
            and known_from <= {{ business_date() }}
            and {{ of_changed_applications('application_id') }}
    ) as versions
    group by application_id
),

standing as (
    select
        application.application_id,
        (date_trunc('month', application.applied_on) + interval '1 month' - interval '1 day')::date
            as applied_month_end,
        coalesce(candidate.person_key, {{ person_key('application.candidate_id') }}) as person_key,
        {{ person_key('application.candidate_id') }} as candidate_key,
        application.workforce_group,
        coalesce(route.entry_route, 'UNK') as entry_route,
        coalesce(detail.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        coalesce(detail.residence_borough_code, case when detail.is_outside_london then 'OUTSIDE' else 'UNK' end)
            as residence_area,
        application.registered_on,
        application.applied_on,
        passed.sift_passed_on,
        passed.assess_passed_on,
        passed.vet_passed_on,
        passed.offer_passed_on,
        application.offered_on,
        application.start_planned_on,
        case when application.current_status = 'STARTED' then application.start_planned_on end as started_on,
        coalesce(moved.start_moves, 0)::smallint as start_moves,
        -- The day is told by an event; without one only the status says that the candidate withdrew.
        case when application.current_status = 'WITHDRAWN' then passed.withdrawn_on end as withdrawn_on,
        application.current_stage,
        application.current_status,
        coalesce(stage.stage_key, {{ stage_key("'UNKNOWN'", 'application.current_stage') }}) as furthest_stage_key,
        process.campaign_id,
        coalesce(source.source_code, '(UNKNOWN)') as source_code,
        application.is_referred_by_ambassador,
        application.is_referred_by_event,
        -- What was recorded at the time goes before what a candidate remembers: an ambassador's code first, then a
        -- tracked event.
        case
            when application.is_referred_by_ambassador then 'AMBASSADOR'
            when application.is_referred_by_event then 'OUTREACH_EVENT'
            else coalesce(source.source_category, 'UNKNOWN')
        end as attributed_category,
        case
            when application.is_referred_by_ambassador then 'ambassador code'
            when application.is_referred_by_event then 'tracked event'
            when source.source_code is not null then 'self-report'
            else 'none'
        end as attribution_rule,
        1::smallint as attribution_rule_version,
        application.lrc_basis,
        application.lrc_pass,
        application.is_held,
        true as counts_in_month,
        true as counts_in_route_month,
        true as counts_in_year
    from {{ ref('stg_recruitment__application') }} as application
    inner join {{ ref('int_application_process') }} as process
        on application.application_id = process.application_id
    left join {{ ref('int_candidate') }} as candidate on application.candidate_id = candidate.candidate_id
    left join {{ ref('int_application_candidate') }} as detail
        on application.application_id = detail.application_id
    left join passed on application.application_id = passed.application_id
    left join moved on application.application_id = moved.application_id
    left join {{ ref('dim_entry_route') }} as route on application.entry_route = route.entry_route
    left join {{ ref('dim_source') }} as source on application.source_code = source.source_code
    left join {{ ref('dim_stage') }} as stage
        on process.process_version = stage.process_version and application.current_stage = stage.stage_code
    where
        application.applied_on <= {{ business_date() }}
        and {{ of_changed_applications('application.application_id') }}
),

kept as (
    {{ keyless_rows('fct_application') }}
),

-- Rows kept before a column was there have it empty: they are of its unknown member.
keyless as (
    select
        kept.application_id,
        kept.applied_month_end,
        kept.person_key,
        kept.person_key as candidate_key,
        kept.workforce_group,
        kept.entry_route,
        kept.ethnicity_code,
        kept.sex_code,
        coalesce(kept.residence_area, 'UNK') as residence_area,
        null::date as registered_on,
        kept.applied_on,
        null::date as sift_passed_on,
        null::date as assess_passed_on,
        null::date as vet_passed_on,
        null::date as offer_passed_on,
        null::date as offered_on,
        null::date as start_planned_on,
        null::date as started_on,
        null::smallint as start_moves,
        null::date as withdrawn_on,
        null::text as current_stage,
        null::text as current_status,
        coalesce(kept.furthest_stage_key, 'UNKNOWN:UNKNOWN') as furthest_stage_key,
        '(UNKNOWN)' as campaign_id,
        '(UNKNOWN)' as source_code,
        false as is_referred_by_ambassador,
        false as is_referred_by_event,
        coalesce(kept.attributed_category, 'UNKNOWN') as attributed_category,
        'none' as attribution_rule,
        1::smallint as attribution_rule_version,
        null::text as lrc_basis,
        null::text as lrc_pass,
        kept.is_held,
        kept.counts_in_month,
        kept.counts_in_route_month,
        kept.counts_in_year
    from kept
    where {{ of_changed_applications('kept.application_id') }}
)

select {{ model_columns('fct_application') | join(', ') }}
from standing
union all
select {{ model_columns('fct_application') | join(', ') }}
from keyless
