select
    label_set,
    ethnic_group,
    ethnic_group_label,
    sort_order::integer as sort_order,
    provenance
from {{ ref('ref_ethnic_group_label') }}
