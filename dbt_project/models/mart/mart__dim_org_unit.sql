select * from {{ ref('dim_org_unit') }}
