select * from {{ ref('bridge_ethnicity') }}
