select
    classification,
    category_code,
    ethnicity_code,
    has_own_category,
    bridge_quality,
    home_office_label,
    provenance
from {{ ref('ref_ethnicity_bridge') }}
