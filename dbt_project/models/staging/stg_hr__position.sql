select
    position_id,
    title as post_title,
    establishment_fte,
    budget_year,
    org_unit_id,
    is_held
from ({{ known('history', 'hr_position') }}) as known
