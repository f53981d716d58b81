-- Apart from the counts of every area: adding the two would count people twice.
select
    census_year,
    area_code,
    merged_with_area_code,
    category_kind,
    ethnicity_code,
    sex_code,
    age_band_code,
    residents,
    known_cells,
    suppressed_cells
from {{ ref('fct_population') }}
where category_kind in ('ethnic_group_by_sex', 'ethnic_group_by_age_band')
