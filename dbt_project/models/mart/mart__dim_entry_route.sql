select * from {{ ref('dim_entry_route') }}
