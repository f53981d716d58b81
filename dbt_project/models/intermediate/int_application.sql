-- Applications with the day each stage was first passed and the candidate as recruitment knows them, and what
-- people who were erased have left.
with
passed as (
    select
        application_id,
    {% for stage in ['SIFT', 'ASSESS', 'VET', 'OFFER'] -%}
        min(event_on) filter (where stage_code = '{{ stage }}' and outcome = 'PASS')
            as {{ stage | lower }}_passed_on{{ ',' if not loop.last }}
    {% endfor %}
    from {{ ref('stg_recruitment__stage_event') }}
    group by application_id
),

standing as (
    select
        application.application_id,
        (date_trunc('month', application.applied_on) + interval '1 month' - interval '1 day')::date
            as applied_month_end,
        coalesce(candidate.person_key, {{ person_key('application.candidate_id') }}) as person_key,
        application.workforce_group,
        application.entry_route,
        coalesce(detail.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        application.applied_on,
        passed.sift_passed_on,
        passed.assess_passed_on,
        passed.vet_passed_on,
        passed.offer_passed_on,
        application.offered_on,
        application.started_on,
        application.current_stage,
        application.current_status,
        application.source_code,
        application.is_held,
        true as counts_in_month,
        true as counts_in_route_month,
        true as counts_in_year
    from {{ ref('stg_recruitment__application') }} as application
    left join {{ ref('int_candidate') }} as candidate on application.candidate_id = candidate.candidate_id
    left join {{ ref('stg_recruitment__candidate') }} as detail on application.candidate_id = detail.candidate_id
    left join passed on application.application_id = passed.application_id
    where application.applied_on <= {{ business_date() }}
),

keyless as (
    {{ keyless_rows('fct_application') }}
)

select {{ model_columns('fct_application') | join(', ') }}
from standing
union all
select {{ model_columns('fct_application') | join(', ') }}
from keyless
