select
    org_unit_id,
    parent_org_unit_id,
    org_name,
    org_type,
    bcu_code,
    borough_code,
    effective_start_date,
    effective_end_date,
    is_held
from ({{ known('history', 'hr_org_unit') }}) as known
