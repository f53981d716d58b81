-- Distinct candidates: whoever applies twice in a financial year is counted once in it.
select
    {{ financial_year('applied_on') }} as financial_year,
    max((date_trunc('year', applied_on - interval '3 months') + interval '15 months' - interval '1 day')::date)
        as year_end,
    workforce_group,
    ethnicity_code,
    sex_code,
    (count(distinct person_key) filter (where counts_in_year))::integer as candidates,
    count(*)::integer as applications
from {{ ref('fct_application_whole') }}
where {{ financial_year('applied_on') }} in (select financial_year from {{ ref('int_affected_applied_year') }})
group by {{ financial_year('applied_on') }}, workforce_group, ethnicity_code, sex_code
