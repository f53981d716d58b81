select * from {{ ref('dim_area') }}
