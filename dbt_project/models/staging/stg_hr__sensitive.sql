select
    person_id,
    attribute,
    -- Under the 16+1 scheme O1 is Chinese, which has been A4 since 2011.
    case when attribute = 'ETHNICITY' and scheme = '16+1' and value_code = 'O1' then 'A4' else value_code end
        as value_code,
    {{ london_date('declared_ts') }} as declared_on,
    declared_ts,
    is_held
from ({{ known('sensitive', 'hr_sensitive') }}) as known
