select * from {{ ref('bridge_borough_bcu') }}
