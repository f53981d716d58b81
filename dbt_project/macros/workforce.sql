{#
  The workforce at the count date of each month: one row for each person and workforce group.

  months: a relation with month_start, month_end, counted_on.
  persons: a relation of person_key to keep to, or none for everyone.
#}
{% macro workforce_rows(months, persons=none) -%}
    select distinct on (month.month_end, assignment.person_key, assignment.workforce_group)
        month.month_end,
        assignment.person_key,
        assignment.workforce_group,
        assignment.rank_code,
        coalesce(ethnicity.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        case
            when detail.date_of_birth is null then 'HO_UNK'
            else case
                when {{ age_at('detail.date_of_birth', 'month.month_start') }} < 26 then 'HO_U26'
                when {{ age_at('detail.date_of_birth', 'month.month_start') }} < 41 then 'HO_26_40'
                when {{ age_at('detail.date_of_birth', 'month.month_start') }} < 56 then 'HO_41_55'
                else 'HO_O55'
            end
        end as age_band_code,
        org_unit.org_unit_key,
        coalesce(org_unit.org_type, 'UNKNOWN') as org_type,
        org_unit.bcu_code,
        org_unit.borough_code,
        -- Counted FTE is capped at 1 for a person and group; unpaid groups are counted in heads only.
        case
            when assignment.workforce_group in ('SC', 'PSV', 'VPC') then 0
            else least(1, sum(assignment.fte) over person_in_group)
        end::numeric(6, 3) as fte,
        sum(assignment.fte) over person_in_group > 1 as is_fte_capped,
        assignment.assignment_status not in ('SECONDED_OUT', 'SECONDED_IN') as is_ho_headcount,
        assignment.assignment_status in ('ACTIVE', 'SUSPENDED', 'MATERNITY', 'UNPAID_LEAVE') as is_working_strength,
        bool_or(assignment.is_held) over person_in_group or coalesce(detail.is_held, false) as is_held
    from {{ months }} as month
    inner join {{ ref('int_assignment') }} as assignment
        on
            assignment.valid_from <= month.counted_on
            and (assignment.valid_to is null or assignment.valid_to > month.counted_on)
    {%- if persons %}
    inner join {{ persons }} as kept on assignment.person_key = kept.person_key
    {%- endif %}
    left join {{ ref('dim_org_unit') }} as org_unit
        on
            assignment.org_unit_id = org_unit.org_unit_id
            and org_unit.valid_from <= month.counted_on
            and (org_unit.valid_to is null or org_unit.valid_to > month.counted_on)
    left join {{ ref('int_person_detail') }} as detail on assignment.person_key = detail.person_key
    left join {{ ref('int_ethnicity_period') }} as ethnicity
        on
            assignment.person_key = ethnicity.person_key
            and ethnicity.valid_from <= month.counted_on
            and (ethnicity.valid_to is null or ethnicity.valid_to > month.counted_on)
    window person_in_group as (
        partition by month.month_end, assignment.person_key, assignment.workforce_group
    )
    order by
        month.month_end, assignment.person_key, assignment.workforce_group,
        assignment.is_primary desc, assignment.assignment_id
{%- endmacro %}


{% macro age_at(date_of_birth, on) -%}
    extract(year from age({{ on }}, {{ date_of_birth }}))
{%- endmacro %}


{#
  Joining, leaving, rising: one row for each event, with the person as they were on that day.

  persons: a relation of person_key to keep to, or none for everyone.
#}
{% macro movement_rows(persons=none) -%}
    select
        event.event_id,
        (date_trunc('month', event.event_date) + interval '1 month' - interval '1 day')::date as month_end,
        event.event_date,
        person.person_key,
        case event.event_type
            when 'JOIN' then 'join'
            when 'REJOIN' then 'join'
            when 'TRANSFER_IN' then 'join'
            when 'LEAVE' then 'leave'
            when 'TRANSFER_OUT' then 'leave'
            when 'PROMOTE' then 'promote'
            else 'demote'
        end as movement_type,
        event.workforce_group,
        event.joiner_type,
        event.entry_route,
        event.leaving_reason_code,
        coalesce(ethnicity.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        event.is_held
    from {{ ref('stg_hr__service_event') }} as event
    inner join {{ ref('int_person') }} as person on event.person_id = person.person_id
    {%- if persons %}
    inner join {{ persons }} as kept on person.person_key = kept.person_key
    {%- endif %}
    left join {{ ref('int_person_detail') }} as detail on person.person_key = detail.person_key
    left join {{ ref('int_ethnicity_period') }} as ethnicity
        on
            person.person_key = ethnicity.person_key
            and ethnicity.valid_from <= (date_trunc('month', event.event_date) + interval '1 month' - interval '1 day')::date
            and (
                ethnicity.valid_to is null
                or ethnicity.valid_to > (date_trunc('month', event.event_date) + interval '1 month' - interval '1 day')::date
            )
{%- endmacro %}
