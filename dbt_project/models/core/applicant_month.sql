-- Distinct candidates: whoever applies twice in a month is counted once in it, as they were the last time.
select
    applied_month_end as month_end,
    workforce_group,
    ethnicity_code,
    sex_code,
    (count(*) filter (where is_latest and counts_in_month))::integer as candidates,
    count(*)::integer as applications
from (
    select
        *,
        {{ is_latest_of_candidate('applied_month_end') }} as is_latest
    from {{ ref('fct_application_whole') }}
    where {{ among('applied_month_end', 'select month_end from ' ~ ref('int_affected_applied_month')) }}
) as application
group by applied_month_end, workforce_group, ethnicity_code, sex_code
