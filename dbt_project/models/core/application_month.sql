select
    applied_month_end as month_end,
    workforce_group,
    entry_route,
    attributed_category,
    furthest_stage_key,
    ethnicity_code,
    sex_code,
    residence_area,
    count(*)::integer as applications
from {{ ref('fct_application_whole') }}
where {{ among('applied_month_end', 'select month_end from ' ~ ref('int_affected_applied_month')) }}
group by
    applied_month_end,
    workforce_group,
    entry_route,
    attributed_category,
    furthest_stage_key,
    ethnicity_code,
    sex_code,
    residence_area
