select * from {{ ref('dim_staff_band') }}
