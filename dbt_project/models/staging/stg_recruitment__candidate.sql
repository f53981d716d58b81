select
    candidate_id,
    date_of_birth,
    coalesce(sex, 'U') as sex_code,
    {{ candidate_ethnicity() }} as ethnicity_code,
    postcode_sector,
    outside_london_flag = 'Y' as is_outside_london,
    created_ts,
    is_held
from ({{ known('sensitive', 'ats_candidate') }}) as known
