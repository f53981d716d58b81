select
    entry_route,
    entry_route_label,
    joiner_type,
    is_external,
    is_residency_exempt,
    is_known,
    sort_order::integer as sort_order,
    provenance
from {{ ref('ref_entry_route') }}
