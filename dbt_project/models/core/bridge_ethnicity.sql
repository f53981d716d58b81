select
    classification,
    category_code,
    ethnicity_code,
    has_own_category,
    bridge_quality,
    provenance
from {{ ref('ref_ethnicity_bridge') }}
