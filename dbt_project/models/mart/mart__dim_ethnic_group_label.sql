select * from {{ ref('dim_ethnic_group_label') }}
