select
    census_year,
    area_code,
    sex as sex_code,
    category_code as ethnicity_code,
    -- London's own figures stay beside those of its areas, which are suppressed far more often.
    is_total = 'Y' as is_london,
    merged_with as merged_with_area_code,
    obs_value as rounded_residents,
    obs_status
from ({{ known('history', 'census_ethnic_group_by_sex') }}) as known
