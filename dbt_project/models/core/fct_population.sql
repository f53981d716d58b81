-- Residents by ethnic group or by sex, of every area; and by ethnic group within one sex or within one age band, of
-- the areas as the ONS gives them: the City of London together with Westminster, and London itself, whose figures
-- are suppressed far less often than those of its areas. Suppressed figures are counted and never taken for nought:
-- where some of a band's single years are suppressed, `residents` is what is known of it, the least it can be.
with
by_age_band as (
    select
        census.census_year,
        census.area_code,
        census.merged_with_area_code,
        census.ethnicity_code,
        band.age_band_code,
        sum(census.rounded_residents)::bigint as residents,
        count(census.rounded_residents)::integer as known_cells,
        (count(*) - count(census.rounded_residents))::integer as suppressed_cells
    from {{ ref('stg_census__ethnic_group_by_age') }} as census
    inner join {{ ref('bridge_age_band') }} as band on census.age = band.age
    group by
        census.census_year,
        census.area_code,
        census.merged_with_area_code,
        census.ethnicity_code,
        band.age_band_code
)

select
    census_year,
    area_code,
    category_code as category,
    'ethnic_group' as category_kind,
    category_code as ethnicity_code,
    null::text as sex_code,
    null::text as age_band_code,
    residents,
    obs_status,
    null::text as merged_with_area_code,
    false as is_rounded,
    (residents is not null)::integer as known_cells,
    (residents is null)::integer as suppressed_cells
from {{ ref('stg_census__ethnic_group') }}
union all
select
    census_year,
    area_code,
    category_code as category,
    'sex' as category_kind,
    null::text as ethnicity_code,
    category_code as sex_code,
    null::text as age_band_code,
    residents,
    obs_status,
    null::text as merged_with_area_code,
    false as is_rounded,
    (residents is not null)::integer as known_cells,
    (residents is null)::integer as suppressed_cells
from {{ ref('stg_census__sex') }}
union all
select
    census_year,
    area_code,
    ethnicity_code || ':' || sex_code as category,
    'ethnic_group_by_sex' as category_kind,
    ethnicity_code,
    sex_code,
    null::text as age_band_code,
    rounded_residents as residents,
    obs_status,
    merged_with_area_code,
    true as is_rounded,
    (rounded_residents is not null)::integer as known_cells,
    (rounded_residents is null)::integer as suppressed_cells
from {{ ref('stg_census__ethnic_group_by_sex') }}
union all
select
    census_year,
    area_code,
    ethnicity_code || ':' || age_band_code as category,
    'ethnic_group_by_age_band' as category_kind,
    ethnicity_code,
    null::text as sex_code,
    age_band_code,
    residents,
    case when suppressed_cells > 0 then 'Q' else 'A' end as obs_status,
    merged_with_area_code,
    true as is_rounded,
    known_cells,
    suppressed_cells
from by_age_band
