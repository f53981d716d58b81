select * from {{ ref('bridge_age_band') }}
