select * from {{ ref('dim_stage') }}
