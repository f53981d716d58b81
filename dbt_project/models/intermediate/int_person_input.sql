-- A number made of everything HR says about a person tonight: whoever's differs from the one of the last switch
-- has changed. It is put together of the numbers of rows, so no line of time is drawn for it. A day that has come
-- since is a change, and so is a unit that was moved, for the people in it.
with
org_unit as (
    select
        org_unit_id,
        bit_xor(mark) as mark
    from ({{ marked('history', 'hr_org_unit', ['known.effective_start_date', 'known.effective_end_date + 1']) }})
    group by org_unit_id
),

marks as (
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_person') }})
    union all
    select
        assignment.person_id,
        hashint8extended(assignment.mark, coalesce(org_unit.mark, 0))
    from (
        {{ marked('history', 'hr_assignment', ['known.effective_start_date', 'known.effective_end_date + 1']) }}
    ) as assignment
    left join org_unit on assignment.org_unit_id = org_unit.org_unit_id
    union all
    select
        person_id,
        mark
    from ({{ marked('sensitive', 'hr_sensitive', [london_date('known.declared_ts')]) }})
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_service_event', ['known.event_date']) }})
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_promotion_board') }})
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_training', ['known.event_date']) }})
)

select
    person.person_key,
    bit_xor(marks.mark) as input_hash
from marks
inner join {{ ref('int_person') }} as person on marks.person_id = person.person_id
group by person.person_key
