-- What is the same for a person at every date: sex as last recorded and date of birth; and whether any
-- of the person's rows is held.
with
latest as (
    select distinct on (person.person_key)
        person.person_key,
        record.sex_code,
        record.date_of_birth
    from {{ ref('stg_hr__person') }} as record
    inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
    where {{ of_persons_tonight('person.person_key') }}
    order by person.person_key asc, record.effective_start_date desc, record.person_id desc, record.person_type asc
),

held as (
    select person_id from {{ ref('stg_hr__person') }} where is_held
    union
    select person_id from {{ ref('stg_hr__sensitive') }} where is_held
)

select
    latest.person_key,
    latest.sex_code,
    latest.date_of_birth,
    latest.person_key in (
        select person.person_key
        from held
        inner join {{ ref('int_person') }} as person on held.person_id = person.person_id
    ) as is_held
from latest
