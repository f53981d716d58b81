select * from {{ ref('dim_joiner_type') }}
