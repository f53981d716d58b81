with known as ({{ known('sensitive', 'ats_candidate') }}
)

select
    candidate_id,
    date_of_birth,
    coalesce(sex, 'U') as sex_code,
    case
        when ethnicity_code is null then 'NC'
        when ethnicity_scheme = '16+1' and ethnicity_code = 'O1' then 'A4'
        else ethnicity_code
    end as ethnicity_code,
    postcode_sector,
    outside_london_flag = 'Y' as is_outside_london,
    is_held
from known
