select {{ model_columns('fct_application') | join(', ') }}
from {{ ref('int_application') }}
where application_id in (select application_id from {{ ref('int_affected_application') }})
