with known as ({{ known('history', 'ats_source') }}
)

select
    source_code,
    category as source_category,
    is_held
from known
