select * from {{ ref('dim_age_band') }}
