select
    ethnicity_code,
    sort_order::integer as sort_order,
    five_group,
    label_2021 as ethnicity_label,
    label_2011 as ethnicity_label_2011,
    code_2001 as ethnicity_code_2001,
    is_known,
    is_ethnic_minority,
    is_non_white_british
from {{ ref('ref_ethnicity') }}
