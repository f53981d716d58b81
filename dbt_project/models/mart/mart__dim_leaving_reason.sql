select * from {{ ref('dim_leaving_reason') }}
