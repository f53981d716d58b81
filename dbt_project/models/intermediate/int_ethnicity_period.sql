-- Each declaration stands from its day until the next one, over all of a person's records.
with declared as (
    select distinct on (person.person_key, declaration.declared_on)
        person.person_key,
        declaration.declared_on as valid_from,
        declaration.value_code as ethnicity_code
    from {{ ref('stg_hr__sensitive') }} as declaration
    inner join {{ ref('int_person') }} as person on declaration.person_id = person.person_id
    where
        declaration.attribute = 'ETHNICITY'
        and {{ of_persons_tonight('person.person_key') }}
    order by person.person_key asc, declaration.declared_on asc, declaration.declared_ts desc, declaration.person_id asc
)

select
    person_key,
    ethnicity_code,
    valid_from,
    lead(valid_from) over (partition by person_key order by valid_from) as valid_to
from declared
