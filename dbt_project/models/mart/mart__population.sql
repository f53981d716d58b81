select
    census_year,
    area_code,
    ethnicity_code,
    sex_code,
    residents,
    obs_status
from {{ ref('fct_population') }}
where category_kind in ('ethnic_group', 'sex')
