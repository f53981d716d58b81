select
    application_id,
    input_hash
from {{ ref('int_application_input') }}
where {{ of_changed_applications('application_id') }}
