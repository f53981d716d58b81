-- The feed has a code of its own for candidates who do not know; (UNKNOWN) is for applications that name no
-- source, or one that is not delivered.
select
    source_code,
    source_category,
    source_category <> 'UNKNOWN' as is_known
from {{ ref('stg_recruitment__source') }}
union all
select
    '(UNKNOWN)',
    'UNKNOWN',
    false
