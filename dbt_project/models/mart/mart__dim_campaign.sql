select * from {{ ref('dim_campaign') }}
