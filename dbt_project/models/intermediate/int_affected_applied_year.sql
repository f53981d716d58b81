select distinct {{ financial_year('month_end') }} as financial_year
from {{ ref('int_affected_applied_month') }}
