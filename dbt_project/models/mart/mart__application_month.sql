select * from {{ ref('application_month') }}
