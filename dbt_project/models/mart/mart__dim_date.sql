select * from {{ ref('dim_date') }}
