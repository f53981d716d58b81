select * from {{ ref('dim_workforce_group') }}
