-- Distinct candidates: whoever applies twice in a month is counted once in it.
select
    applied_month_end as month_end,
    workforce_group,
    ethnicity_code,
    sex_code,
    (count(distinct person_key) filter (where counts_in_month))::integer as candidates,
    count(*)::integer as applications
from {{ ref('fct_application_whole') }}
where {{ among('applied_month_end', 'select month_end from ' ~ ref('int_affected_applied_month')) }}
group by applied_month_end, workforce_group, ethnicity_code, sex_code
