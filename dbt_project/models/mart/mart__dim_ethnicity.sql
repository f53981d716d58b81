select * from {{ ref('dim_ethnicity') }}
