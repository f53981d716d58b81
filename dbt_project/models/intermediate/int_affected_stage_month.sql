-- The months whose outcomes at stages are counted again: those in which an application that differs has a stage, or
-- had one at the last switch.
select (date_trunc('month', event_on) + interval '1 month' - interval '1 day')::date as month_end
from {{ ref('int_application_stage') }}
where application_id in (select application_id from {{ ref('int_affected_application') }})
union
select (date_trunc('month', event_on) + interval '1 month' - interval '1 day')::date
from {{ standing_keys('fct_application_stage', {'application_id': 'uuid', 'event_on': 'date'}) }} as standing
where application_id in (select application_id from {{ ref('int_affected_application') }})
