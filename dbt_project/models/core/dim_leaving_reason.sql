select
    leaving_reason_code,
    leaving_reason_label,
    home_office_label,
    leaves_the_service,
    is_attrition,
    is_known,
    sort_order::integer as sort_order,
    provenance
from {{ ref('ref_leaving_reason') }}
