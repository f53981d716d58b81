-- Demographics are the application's. Whoever was erased has no row here; what the totals of closed months count of
-- them stands in stage_month.
select {{ model_columns('fct_application_stage') | join(', ') }}
from {{ ref('int_application_stage') }}
where application_id in (select application_id from {{ ref('int_affected_application') }})
