select * from {{ ref('dim_source') }}
