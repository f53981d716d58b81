select
    person_id,
    national_insurance_hash,
    date_of_birth,
    sex as sex_code,
    home_postcode_sector,
    original_hire_date,
    person_type,
    effective_start_date,
    effective_end_date,
    is_held
from ({{ known('history', 'hr_person') }}) as known
