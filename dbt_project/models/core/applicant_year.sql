-- Distinct candidates: whoever applies twice in a financial year is counted once in it, as they were the last time.
select
    financial_year,
    max((date_trunc('year', applied_on - interval '3 months') + interval '15 months' - interval '1 day')::date)
        as year_end,
    workforce_group,
    ethnicity_code,
    sex_code,
    (count(*) filter (where is_latest and counts_in_year))::integer as candidates,
    count(*)::integer as applications
from (
    select
        *,
        {{ financial_year('applied_on') }} as financial_year,
        {{ is_latest_of_candidate(financial_year('applied_on')) }} as is_latest
    from {{ ref('fct_application_whole') }}
    where
        {{ among('applied_month_end', 'select day.date_day from ' ~ ref('dim_date') ~ ' as day where day.is_month_end
            and day.financial_year in (select affected.financial_year from ' ~ ref('int_affected_applied_year') ~ ' as affected)') }}
) as application
group by financial_year, workforce_group, ethnicity_code, sex_code
