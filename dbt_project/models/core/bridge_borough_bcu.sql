-- When a borough was policed by which basic command unit, as HR's units say. Until its command unit went live a
-- borough was a command of its own: HR files those units under the later code, which was not in force then.
with
policed as (
    select
        borough_code,
        bcu_code,
        range_agg(daterange(effective_start_date, effective_end_date, '[]')) as periods
    from {{ ref('stg_hr__org_unit') }}
    where org_type = 'BCU' and borough_code is not null and bcu_code is not null
    group by borough_code, bcu_code
)

select
    policed.borough_code as area_code,
    policed.bcu_code,
    lower(period) as valid_from,
    upper(period) as valid_to
from policed
cross join unnest(policed.periods) as period
