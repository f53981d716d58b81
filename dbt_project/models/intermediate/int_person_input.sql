-- A number made of everything HR says about a person tonight: whoever's differs from the one of the last switch
-- has changed. It is put together of the numbers of rows, so no line of time is drawn for it. A day that has come
-- since is a change, and so is a unit or a postcode that was moved, for the people in it. Of those alone who may have changed, unless
-- history was written anew.
{% set of_them = 'person_id in (select person_id from person)' if history_stands() else 'true' -%}
with
person as (
    select
        person_id,
        person_key
    from {{ ref('int_person') }}
    where {{ of_touched('person', 'person_key') }}
),

org_unit as (
    select
        org_unit_id,
        bit_xor(mark) as mark
    from ({{ marked('history', 'hr_org_unit', ['known.effective_start_date', 'known.effective_end_date + 1']) }})
    group by org_unit_id
),

marks as (
    select
        record.person_id,
        hashint8extended(record.mark, coalesce(hashtext(sector.area_code), 0)) as mark
    from ({{ marked('history', 'hr_person') }}) as record
    left join {{ ref('stg_postcode__sector') }} as sector
        on record.home_postcode_sector = sector.sector and sector.is_main_area
    where {{ of_them }}
    union all
    select
        assignment.person_id,
        hashint8extended(assignment.mark, coalesce(org_unit.mark, 0))
    from (
        {{ marked('history', 'hr_assignment', ['known.effective_start_date', 'known.effective_end_date + 1']) }}
    ) as assignment
    left join org_unit on assignment.org_unit_id = org_unit.org_unit_id
    where {{ of_them }}
    union all
    select
        person_id,
        mark
    from ({{ marked('sensitive', 'hr_sensitive', [london_date('known.declared_ts')]) }})
    where {{ of_them }}
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_service_event', ['known.event_date']) }})
    where {{ of_them }}
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_promotion_board') }})
    where {{ of_them }}
    union all
    select
        person_id,
        mark
    from ({{ marked('history', 'hr_training', ['known.event_date']) }})
    where {{ of_them }}
)

select
    person.person_key,
    bit_xor(marks.mark) as input_hash
from marks
inner join person on marks.person_id = person.person_id
group by person.person_key
