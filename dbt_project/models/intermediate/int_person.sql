-- One person may stand in HR under several numbers: the National Insurance token joins them, and the
-- record hired first gives the key, of two hired on one day the one that HR had first: who comes back brings
-- the first hire date along. A changed identifier changes this mapping, never a key.
with latest as (
    select distinct on (person_id)
        person_id,
        national_insurance_hash,
        original_hire_date,
        min(effective_start_date) over (partition by person_id) as recorded_from
    from {{ ref('stg_hr__person') }}
    order by person_id asc, effective_start_date desc, person_type asc
)

select
    person_id,
    {{ person_key(
        'first_value(person_id) over (
            partition by coalesce(national_insurance_hash, person_id)
            order by original_hire_date nulls last, recorded_from, person_id
        )'
    ) }} as person_key
from latest
