-- What no unit is known of belongs to the unknown one.
select
    {{ hashed_key(['org_unit_id', 'effective_start_date']) }} as org_unit_key,
    org_unit_id,
    parent_org_unit_id,
    org_name,
    org_type,
    bcu_code,
    borough_code,
    effective_start_date as valid_from,
    effective_end_date + 1 as valid_to
from {{ ref('stg_hr__org_unit') }}
union all
select
    'UNKNOWN',
    -1,
    null::bigint,
    'Not known',
    'UNKNOWN',
    null::text,
    null::text,
    date '1900-01-01',
    null::date
