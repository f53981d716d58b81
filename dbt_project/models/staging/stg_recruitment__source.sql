select
    source_code,
    category as source_category,
    is_held
from ({{ known('history', 'ats_source') }}) as known
