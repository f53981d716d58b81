-- Assignments under person keys, placed in the organisation as it was.
select
    assignment.assignment_id,
    person.person_key,
    assignment.is_primary,
    assignment.assignment_status,
    assignment.workforce_group,
    assignment.rank_code,
    assignment.rank_basis,
    {{ band_of('assignment.band', 'assignment.workforce_group') }} as band,
    assignment.org_unit_id,
    assignment.fte,
    assignment.hours_basis,
    assignment.effective_start_date as valid_from,
    assignment.effective_end_date + 1 as valid_to,
    assignment.is_held
from {{ ref('stg_hr__assignment') }} as assignment
inner join {{ ref('int_person') }} as person on assignment.person_id = person.person_id
where
    assignment.assignment_status <> 'TERMINATED'
    and {{ of_persons_tonight('person.person_key') }}
