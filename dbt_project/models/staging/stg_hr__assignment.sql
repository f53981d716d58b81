select
    assignment_id,
    person_id,
    primary_flag = 'Y' as is_primary,
    assignment_status,
    workforce_group,
    -- A temporary rank counts at that rank, an acting one at the substantive rank.
    case
        when workforce_group <> 'OFF' then 'NONE'
        when rank_basis = 'ACT' then coalesce(substantive_rank_code, rank_code, 'UNK')
        else coalesce(rank_code, 'UNK')
    end as rank_code,
    case when workforce_group = 'OFF' then coalesce(rank_basis, 'UNK') else 'NONE' end as rank_basis,
    band,
    org_unit_id,
    fte,
    coalesce(hours_basis, case when fte < 1 then 'PT' else 'FT' end) as hours_basis,
    action_code,
    effective_start_date,
    effective_end_date,
    is_held
from ({{ known('history', 'hr_assignment') }}) as known
