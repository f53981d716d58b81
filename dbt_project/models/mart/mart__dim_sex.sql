select * from {{ ref('dim_sex') }}
