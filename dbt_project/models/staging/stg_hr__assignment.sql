with known as ({{ known('history', 'hr_assignment') }}
)

select
    assignment_id,
    person_id,
    primary_flag = 'Y' as is_primary,
    assignment_status,
    workforce_group,
    -- A temporary rank counts at that rank, an acting one at the substantive rank.
    case
        when workforce_group <> 'OFF' then 'NONE'
        when rank_basis = 'ACT' then coalesce(substantive_rank_code, rank_code)
        else rank_code
    end as rank_code,
    band,
    org_unit_id,
    fte,
    effective_start_date,
    effective_end_date,
    is_held
from known
