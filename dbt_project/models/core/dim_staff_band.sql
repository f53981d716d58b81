select
    band,
    staff_band_label,
    is_shadow,
    is_known,
    sort_order::integer as sort_order,
    provenance
from {{ ref('ref_staff_band') }}
