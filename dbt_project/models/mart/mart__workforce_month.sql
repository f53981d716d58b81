select
    month_end,
    workforce_group,
    rank_code,
    rank_group,
    ethnicity_code,
    sex_code,
    age_band_code,
    org_type,
    nullif(bcu_code, 'none') as bcu_code,
    nullif(borough_code, 'none') as borough_code,
    headcount,
    fte,
    working_strength,
    held,
    fte_capped
from {{ ref('workforce_month') }}
