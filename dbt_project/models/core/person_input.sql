select
    person_key,
    input_hash
from {{ ref('int_person_input') }}
where {{ of_changed_persons('person_key') }}
