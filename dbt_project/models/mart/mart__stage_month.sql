select * from {{ ref('stage_month') }}
