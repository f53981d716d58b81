select
    age_band_code,
    scheme,
    age_band_label,
    from_age::integer as from_age,
    to_age::integer as to_age,
    sort_order::integer as sort_order
from {{ ref('ref_age_band') }}
