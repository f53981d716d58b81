-- Every version of a candidate known up to the business date, those before and after the source made them
-- anonymous: what an application was made with is told by the version of its day.
select
    candidate_id,
    known_from,
    email_hash,
    phone_hash,
    date_of_birth,
    coalesce(sex, 'U') as sex_code,
    {{ candidate_ethnicity() }} as ethnicity_code,
    postcode_sector,
    outside_london_flag = 'Y' as is_outside_london,
    anonymised_ts is not null as is_anonymised
from {{ source('sensitive', 'history_ats_candidate') }}
where known_from <= {{ business_date() }}
