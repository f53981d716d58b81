select
    sex_code,
    sex_label,
    is_known,
    sort_order::integer as sort_order
from {{ ref('ref_sex') }}
