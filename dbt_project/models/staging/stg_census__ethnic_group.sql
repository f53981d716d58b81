select
    census_year,
    area_code,
    category_code,
    obs_value as residents,
    obs_status
from ({{ known('history', 'census_ethnic_group') }}) as known
-- Totals stand beside their parts: adding every row would count people twice.
where is_total = 'N'
