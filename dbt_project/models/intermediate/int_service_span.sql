-- One line of time for each person and workforce group, without overlaps: of several assignments the primary
-- one of those that count says how the person is counted, and the FTE of those that count is summed. Only where
-- assignments overlap is time cut up.
with
ordered as (
    select
        *,
        -- Who is lent to others is not counted, nor who is lent by another force; a career break is no work.
        assignment_status not in ('SECONDED_OUT', 'SECONDED_IN') as is_counted,
        assignment_status not in ('SECONDED_OUT', 'SECONDED_IN', 'CAREER_BREAK') as is_working,
        max(coalesce(valid_to, 'infinity'::date)) over (
            partition by person_key, workforce_group
            order by valid_from, assignment_id
            rows between unbounded preceding and 1 preceding
        ) as taken_until
    from {{ ref('int_assignment') }}
    where
        valid_from <= {{ business_date() }}
        and (valid_to is null or valid_to > valid_from)
),

shared as (
    select
        person_key,
        workforce_group
    from ordered
    group by person_key, workforce_group
    having bool_or(taken_until > valid_from)
),

overlapping as (
    select ordered.*
    from ordered
    inner join shared
        on ordered.person_key = shared.person_key and ordered.workforce_group = shared.workforce_group
),

cut as (
    select
        person_key,
        workforce_group,
        day as valid_from,
        lead(day) over (partition by person_key, workforce_group order by day) as valid_to
    from (
        select
            person_key,
            workforce_group,
            valid_from as day
        from overlapping
        union
        select
            person_key,
            workforce_group,
            valid_to
        from overlapping
        where valid_to is not null
    ) as days
),

resolved as (
    select distinct on (cut.person_key, cut.workforce_group, cut.valid_from)
        cut.person_key,
        cut.workforce_group,
        cut.valid_from,
        cut.valid_to,
        overlapping.assignment_status,
        overlapping.rank_code,
        overlapping.rank_basis,
        overlapping.band,
        overlapping.org_unit_id,
        overlapping.hours_basis,
        coalesce(
            sum(overlapping.fte) filter (where overlapping.is_counted) over at_once,
            sum(overlapping.fte) over at_once
        ) as summed_fte,
        bool_or(overlapping.is_counted) over at_once as is_counted,
        bool_or(overlapping.is_working) over at_once as is_working,
        bool_or(overlapping.is_held) over at_once as is_held
    from cut
    inner join overlapping
        on
            cut.person_key = overlapping.person_key
            and cut.workforce_group = overlapping.workforce_group
            and cut.valid_from >= overlapping.valid_from
            and (overlapping.valid_to is null or cut.valid_from < overlapping.valid_to)
    window at_once as (partition by cut.person_key, cut.workforce_group, cut.valid_from)
    order by
        cut.person_key asc, cut.workforce_group asc, cut.valid_from asc,
        overlapping.is_counted desc, overlapping.is_primary desc, overlapping.assignment_id asc,
        overlapping.valid_from asc
),

together as (
    select * from resolved
    union all
    select
        ordered.person_key,
        ordered.workforce_group,
        ordered.valid_from,
        ordered.valid_to,
        ordered.assignment_status,
        ordered.rank_code,
        ordered.rank_basis,
        ordered.band,
        ordered.org_unit_id,
        ordered.hours_basis,
        ordered.fte,
        ordered.is_counted,
        ordered.is_working,
        ordered.is_held
    from ordered
    left join shared
        on ordered.person_key = shared.person_key and ordered.workforce_group = shared.workforce_group
    where shared.person_key is null
)

select
    person_key,
    workforce_group,
    valid_from,
    valid_to,
    rank_code,
    rank_basis,
    band,
    org_unit_id,
    hours_basis,
    -- Counted FTE is capped at 1 for a person and group; unpaid groups are counted in heads only.
    case when workforce_group in ('SC', 'PSV', 'VPC') then 0 else least(1, summed_fte) end::numeric(6, 3) as fte,
    summed_fte > 1 as is_fte_capped,
    is_counted as is_ho_headcount,
    is_working as is_working_strength,
    assignment_status = 'SECONDED_IN' as is_of_another_force,
    is_held
from together
