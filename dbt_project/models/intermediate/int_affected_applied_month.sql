-- The months whose applicants are counted again: those an application left and those it came to.
select distinct applied_month_end as month_end
from {{ ref('int_affected_application') }}
