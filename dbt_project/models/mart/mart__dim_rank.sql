select * from {{ ref('dim_rank') }}
