-- What the roll-forward leaves unexplained, all months together, beside how much of it is expected and how much it may
-- be. Expected is nothing, unless rows are in quarantine of which nobody can say whose they are: such a row is missed
-- twice, where it begins and where it ends. More may be told late, but not of more than a few.
with
unexplained as (
    select
        count_basis,
        sum(abs(unexplained)) as heads
    from {{ ref('roll_forward_whole') }}
    group by count_basis
),

unplaced as (
    select held.row_key
    from {{ source('history', 'hr_assignment_held') }} as held
    left join {{ ref('int_person') }} as person on held.person_id = person.person_id
    where
        held.held_from <= {{ business_date() }}
        and (held.held_to is null or held.held_to > {{ business_date() }})
        and person.person_id is null
    union all
    select held.row_key
    from {{ source('history', 'hr_service_event_held') }} as held
    left join {{ ref('int_person') }} as person on held.person_id = person.person_id
    where
        held.held_from <= {{ business_date() }}
        and (held.held_to is null or held.held_to > {{ business_date() }})
        and person.person_id is null
),

latest as (
    select coalesce(sum(headcount), 0) as heads
    from {{ ref('workforce_month_whole') }}
    where month_end = (select max(month_end) from {{ ref('int_month') }})
)

select
    coalesce((select max(heads) from unexplained), 0)::integer as unexplained,
    (2 * (select count(*) from unplaced))::integer as unexplained_expected,
    (2 * (select count(*) from unplaced) + floor({{ unexplained_in_a_thousand() }} * latest.heads / 1000))::integer
        as unexplained_limit
from latest
