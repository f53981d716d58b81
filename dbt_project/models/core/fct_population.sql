-- Residents by ethnic group or by sex; never both, as the census tables used here cross neither.
select
    census_year,
    area_code,
    category_code as category,
    'ethnic_group' as category_kind,
    category_code as ethnicity_code,
    null::text as sex_code,
    residents,
    obs_status
from {{ ref('stg_census__ethnic_group') }}
union all
select
    census_year,
    area_code,
    category_code as category,
    'sex' as category_kind,
    null::text as ethnicity_code,
    category_code as sex_code,
    residents,
    obs_status
from {{ ref('stg_census__sex') }}
