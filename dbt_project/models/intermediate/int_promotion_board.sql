-- Who was before which board, as the person they were in its month. No column tells when a board sat: the month is
-- read from the end of the board's number (SGT-2018-03), else it is not known; those who rose are no help, as their
-- months differ and who failed has none.
-- Rank is the one held at the month's start, before whoever passed rose; the group is officers.
with
numbered as (
    select
        *,
        to_date(substring(board_id from '-((?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2]))$'), 'YYYY-MM') as month_start
    from {{ ref('stg_hr__promotion_board') }}
),

-- A person HR knows by two numbers stands once before a board: as whoever got furthest.
standing as (
    select distinct on (numbered.board_id, person.person_key)
        numbered.*,
        person.person_key,
        (numbered.month_start + interval '1 month' - interval '1 day')::date as month_end
    from numbered
    inner join {{ ref('int_person') }} as person on numbered.person_id = person.person_id
    where {{ of_changed_persons('person.person_key') }}
    order by
        numbered.board_id asc, person.person_key asc, numbered.promoted_on asc nulls last,
        numbered.board_outcome desc nulls last, numbered.exam_outcome desc nulls last, numbered.has_applied desc,
        numbered.is_eligible desc, numbered.person_id asc
),

ranked as (
    select distinct on (standing.board_id, standing.person_key)
        standing.board_id,
        standing.person_key,
        assignment.rank_code
    from standing
    inner join {{ ref('int_assignment') }} as assignment
        on
            standing.person_key = assignment.person_key
            and assignment.workforce_group = 'OFF'
            and standing.month_end >= assignment.valid_from
            and (assignment.valid_to is null or standing.month_start < assignment.valid_to)
    order by
        standing.board_id asc, standing.person_key asc, assignment.valid_from asc, assignment.is_primary desc,
        assignment.assignment_id asc
)

select
    standing.board_id,
    standing.person_key,
    standing.month_end as board_month_end,
    standing.process_type,
    standing.board_rank_code,
    coalesce(ranked.rank_code, case when standing.month_end is null then 'UNK' else 'NONE' end) as rank_code,
    coalesce(ethnicity.ethnicity_code, 'NC') as ethnicity_code,
    coalesce(detail.sex_code, 'U') as sex_code,
    standing.is_eligible,
    standing.has_applied,
    standing.exam_outcome,
    standing.board_outcome,
    standing.promoted_on,
    standing.is_held
from standing
left join ranked on standing.board_id = ranked.board_id and standing.person_key = ranked.person_key
left join {{ ref('int_person_detail') }} as detail on standing.person_key = detail.person_key
left join {{ ref('int_ethnicity_period') }} as ethnicity
    on
        standing.person_key = ethnicity.person_key
        and ethnicity.valid_from <= coalesce(standing.month_end, {{ business_date() }})
        and (ethnicity.valid_to is null or ethnicity.valid_to > coalesce(standing.month_end, {{ business_date() }}))
