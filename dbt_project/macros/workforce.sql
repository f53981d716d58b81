{#
  The workforce at the count date of each month: one row for each person and workforce group.

  months: a relation with month_start, month_end, counted_on.
  persons: a relation of person_key to keep to, or none for everyone.
#}
{% macro workforce_rows(months, persons=none) -%}
    select
        month.month_end,
        span.person_key,
        span.workforce_group,
        span.rank_code,
        span.rank_basis,
        span.band,
        coalesce(ethnicity.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        case
            when detail.date_of_birth is null then 'HO_UNK'
            when detail.date_of_birth > month.aged_26 then 'HO_U26'
            when detail.date_of_birth > month.aged_41 then 'HO_26_40'
            when detail.date_of_birth > month.aged_56 then 'HO_41_55'
            else 'HO_O55'
        end as age_band_code,
        case
            when detail.date_of_birth is null then 'ONS_UNK'
            when detail.date_of_birth > month.aged_16 then 'ONS_U16'
            when detail.date_of_birth > month.aged_25 then 'ONS_16_24'
            when detail.date_of_birth > month.aged_35 then 'ONS_25_34'
            when detail.date_of_birth > month.aged_50 then 'ONS_35_49'
            when detail.date_of_birth > month.aged_65 then 'ONS_50_64'
            else 'ONS_65'
        end as age_band_ons_code,
        coalesce(org_unit.org_unit_key, 'UNKNOWN') as org_unit_key,
        coalesce(org_unit.org_type, 'UNKNOWN') as org_type,
        {{ area_of('org_unit.bcu_code', 'org_unit.org_type') }} as bcu_code,
        {{ area_of('org_unit.borough_code', 'org_unit.org_type') }} as borough_code,
        span.hours_basis,
        span.fte,
        span.is_fte_capped,
        span.is_ho_headcount,
        span.is_working_strength,
        span.is_held or coalesce(detail.is_held, false) as is_held
    from (
        select
            month_end,
            counted_on,
        {%- for age in [16, 25, 26, 35, 41, 50, 56, 65] %}
            -- Born on this day, one is {{ age }} on the month's first day.
            (month_start - interval '{{ age }} years')::date as aged_{{ age }}{{ ',' if not loop.last }}
        {%- endfor %}
        from {{ months }}
        offset 0  -- so that the days are worked out once a month, not once a person
    ) as month
    inner join
    {%- if persons %}
        (
            select kept_span.*
            from {{ ref('int_service_span') }} as kept_span
            inner join {{ persons }} as kept on kept_span.person_key = kept.person_key
            offset 0  -- so that persons are picked before months are joined
        ) as span
    {%- else %}
        {{ ref('int_service_span') }} as span
    {%- endif %}
        on
            span.valid_from <= month.counted_on
            and (span.valid_to is null or span.valid_to > month.counted_on)
    left join {{ ref('dim_org_unit') }} as org_unit
        on
            span.org_unit_id = org_unit.org_unit_id
            and org_unit.valid_from <= month.counted_on
            and (org_unit.valid_to is null or org_unit.valid_to > month.counted_on)
    left join {{ ref('int_person_detail') }} as detail on span.person_key = detail.person_key
    left join {{ ref('int_ethnicity_period') }} as ethnicity
        on
            span.person_key = ethnicity.person_key
            and ethnicity.valid_from <= month.counted_on
            and (ethnicity.valid_to is null or ethnicity.valid_to > month.counted_on)
{%- endmacro %}


{#
  What people who were erased have left of the workforce in closed months, as `workforce_rows` has it.

  months: a relation of month_end to keep to.
#}
{% macro keyless_workforce_rows(months) -%}
    select
        month_end,
        person_key,
        workforce_group,
        rank_code,
        -- What was kept before a column came to be says nothing of it.
        coalesce(rank_basis, case when workforce_group = 'OFF' then 'UNK' else 'NONE' end) as rank_basis,
        {{ band_of('band', 'workforce_group') }} as band,
        ethnicity_code,
        sex_code,
        age_band_code,
        coalesce(age_band_ons_code, 'ONS_UNK') as age_band_ons_code,
        coalesce(org_unit_key, 'UNKNOWN') as org_unit_key,
        org_type,
        {{ area_of('bcu_code', 'org_type') }} as bcu_code,
        {{ area_of('borough_code', 'org_type') }} as borough_code,
        coalesce(hours_basis, case when fte < 1 then 'PT' else 'FT' end) as hours_basis,
        fte,
        is_fte_capped,
        is_ho_headcount,
        is_working_strength,
        is_held
    from ({{ keyless_rows('fct_workforce_snapshot') }}) as kept
    where month_end in (select month_end from {{ months }})
{%- endmacro %}


{#
  The workforce counted at the grain of the aggregate star.

  rows: a relation with the columns of `workforce_rows`.
#}
{% macro workforce_counts(rows) -%}
    select
        snapshot.month_end,
        snapshot.workforce_group,
        snapshot.rank_code,
        rank.rank_group,
        snapshot.band,
        snapshot.ethnicity_code,
        snapshot.sex_code,
        snapshot.age_band_code,
        snapshot.org_type,
        snapshot.bcu_code,
        snapshot.borough_code,
        count(*)::integer as headcount,
        sum(snapshot.fte)::numeric(12, 3) as fte,
        (count(*) filter (where snapshot.is_working_strength))::integer as working_strength,
        (count(*) filter (where snapshot.hours_basis = 'PT'))::integer as part_time,
        (count(*) filter (where snapshot.rank_basis = 'TEMP'))::integer as temporary_rank,
        (count(*) filter (where snapshot.is_held))::integer as held,
        (count(*) filter (where snapshot.is_fte_capped))::integer as fte_capped
    from {{ rows }} as snapshot
    inner join {{ ref('dim_rank') }} as rank on snapshot.rank_code = rank.rank_code
    where snapshot.is_ho_headcount
    group by
        snapshot.month_end,
        snapshot.workforce_group,
        snapshot.rank_code,
        rank.rank_group,
        snapshot.band,
        snapshot.ethnicity_code,
        snapshot.sex_code,
        snapshot.age_band_code,
        snapshot.org_type,
        snapshot.bcu_code,
        snapshot.borough_code
{%- endmacro %}


{# The last day of the month a day lies in. #}
{% macro month_end_of(day) -%}
    (date_trunc('month', {{ day }}) + interval '1 month' - interval '1 day')::date
{%- endmacro %}


{#
  What moves people: joining, leaving, rising, being posted elsewhere, stepping out of what is counted and
  back, and being counted under another group.

  Events say who joined, left, rose or was reduced in rank. The rest follows from assignments and declarations.
  Every movement of a month is counted under the ethnicity in force at its count date; whoever was counted
  under another five-group at the month before has been reclassified, once, however often they declared. Sex is
  as last recorded for all months, so nobody is reclassified by it.

  is_ho_headcount and is_working_strength say in which count somebody is moved: whoever leaves while lent to
  others was not in it any more.

  months: a relation with month_start, month_end, counted_on.
  persons: a relation of person_key to keep to, or none for everyone.
#}
{% macro movement_rows(months, persons=none) -%}
    with
    span as {{ '' if persons else 'not ' }}materialized (
        select span.*
        from {{ ref('int_service_span') }} as span
        {%- if persons %}
        inner join {{ persons }} as kept on span.person_key = kept.person_key
        {%- endif %}
    ),

    event as {{ '' if persons else 'not ' }}materialized (
        select
            event.*,
            case
                when event.event_type in ('JOIN', 'REJOIN', 'TRANSFER_IN') then 'join'
                when event.event_type in ('LEAVE', 'TRANSFER_OUT') then 'leave'
                when event.event_type = 'PROMOTE' then 'promote'
                else 'demote'
            end as movement_type,
            -- Who leaves does not serve on the day itself any more.
            event.event_date - (event.event_type in ('LEAVE', 'TRANSFER_OUT'))::integer as served_on
        from {{ ref('int_service_event') }} as event
        {%- if persons %}
        inner join {{ persons }} as kept on event.person_key = kept.person_key
        {%- endif %}
        where {{ month_end_of('event.event_date') }} in (select month_end from {{ months }})
    ),

    -- Two terms of service of which one follows the other.
    followed as (
        select
            later.person_key,
            later.workforce_group,
            later.valid_from as event_date,
            later.rank_code,
            later.org_unit_id,
            earlier.org_unit_id as former_org_unit_id,
            later.is_ho_headcount,
            later.is_working_strength,
            earlier.is_ho_headcount as was_ho_headcount,
            earlier.is_working_strength as was_working_strength,
            later.is_held
        from span as earlier
        inner join span as later
            on
                earlier.person_key = later.person_key
                and earlier.workforce_group = later.workforce_group
                and earlier.valid_to = later.valid_from
        where
            {{ month_end_of('later.valid_from') }} in (select month_end from {{ months }})
            and not earlier.is_of_another_force
            and not later.is_of_another_force
            and (
                earlier.org_unit_id <> later.org_unit_id
                or earlier.is_ho_headcount <> later.is_ho_headcount
                or earlier.is_working_strength <> later.is_working_strength
            )
    ),

    -- One assignment that goes on in another workforce group.
    regraded as (
        select distinct
            later.person_key,
            earlier.workforce_group as former_group,
            later.workforce_group,
            later.valid_from
        from {{ ref('int_assignment') }} as earlier
        inner join {{ ref('int_assignment') }} as later
            on
                earlier.assignment_id = later.assignment_id
                and earlier.person_key = later.person_key
                and earlier.valid_to = later.valid_from
        {%- if persons %}
        inner join {{ persons }} as kept on later.person_key = kept.person_key
        {%- endif %}
        where
            earlier.workforce_group <> later.workforce_group
            and later.valid_from <= {{ business_date() }}
    ),

    -- The group they were in is left on the same day, or when another post in it ends.
    regraded_from as (
        select
            regraded.person_key,
            regraded.former_group as workforce_group,
            regraded.valid_from,
            min(earlier.valid_to) as event_date
        from regraded
        inner join span as earlier
            on regraded.person_key = earlier.person_key and regraded.former_group = earlier.workforce_group
        left join span as later
            on
                earlier.person_key = later.person_key
                and earlier.workforce_group = later.workforce_group
                and earlier.valid_to = later.valid_from
        where
            earlier.valid_to >= regraded.valid_from
            and earlier.valid_to <= {{ business_date() }}
            and later.person_key is null
        group by regraded.person_key, regraded.former_group, regraded.valid_from
    ),

    declared as (
        select
            person_key,
            {{ month_end_of('valid_from') }} as month_end,
            ethnicity_code,
            valid_from,
            coalesce(lag(ethnicity_code) over (partition by person_key order by valid_from), 'NC') as former_code
        from {{ ref('int_ethnicity_period') }}
        {%- if persons %}
        where person_key in (select kept.person_key from {{ persons }} as kept)
        {%- endif %}
    ),

    redeclared as (
        select
            declared.person_key,
            declared.month_end,
            max(declared.valid_from) as event_date,
            (array_agg(declared.former_code order by declared.valid_from))[1] as former_code,
            (array_agg(declared.ethnicity_code order by declared.valid_from desc))[1] as ethnicity_code
        from declared
        inner join {{ months }} as month
            on declared.month_end = month.month_end and declared.valid_from <= month.counted_on
        group by declared.person_key, declared.month_end
    ),

    happened as (
        select
            event.event_id,
            event.event_date,
            event.person_key,
            event.movement_type,
            case event.event_type
                when 'JOIN' then 'joined'
                when 'REJOIN' then 'rejoined'
                when 'TRANSFER_IN' then 'transferred_in'
                when 'LEAVE' then 'left'
                when 'TRANSFER_OUT' then 'transferred_out'
                when 'PROMOTE' then 'rose'
                else 'lowered'
            end as movement_kind,
            event.workforce_group,
            event.joiner_type,
            event.entry_route,
            event.leaving_reason_code,
            coalesce(span.rank_code, case when event.workforce_group = 'OFF' then 'UNK' else 'NONE' end) as rank_code,
            null::text as ethnicity_code,
            -- Who has an event and no assignment is counted: then the roll-forward shows what is missing.
            coalesce(span.is_ho_headcount, true) as is_ho_headcount,
            coalesce(span.is_working_strength, true) as is_working_strength,
            event.is_held
        from event
        left join span
            on
                event.person_key = span.person_key
                and event.workforce_group = span.workforce_group
                and span.valid_from <= event.served_on
                and (span.valid_to is null or span.valid_to > event.served_on)
        union all
        -- A posting is to another BCU, or out of or into territorial policing; a borough's command that becomes
        -- part of a BCU takes nobody elsewhere, and nor does a unit that cannot be placed.
        select
            null::bigint,
            followed.event_date,
            followed.person_key,
            'post',
            'posted',
            followed.workforce_group,
            null::text,
            null::text,
            null::text,
            followed.rank_code,
            null::text,
            followed.is_ho_headcount,
            followed.is_working_strength,
            followed.is_held
        from followed
        inner join {{ ref('dim_org_unit') }} as former
            on
                followed.former_org_unit_id = former.org_unit_id
                and former.valid_from < followed.event_date
                and (former.valid_to is null or former.valid_to >= followed.event_date)
        inner join {{ ref('dim_org_unit') }} as org_unit
            on
                followed.org_unit_id = org_unit.org_unit_id
                and org_unit.valid_from <= followed.event_date
                and (org_unit.valid_to is null or org_unit.valid_to > followed.event_date)
        where coalesce(former.bcu_code, former.org_type) <> coalesce(org_unit.bcu_code, org_unit.org_type)
        union all
        select
            null::bigint,
            event_date,
            person_key,
            case when is_ho_headcount < was_ho_headcount or is_working_strength < was_working_strength
                then 'move_out' else 'move_in' end,
            case when is_ho_headcount < was_ho_headcount or is_working_strength < was_working_strength
                then 'stepped_out' else 'came_back' end,
            workforce_group,
            null::text,
            null::text,
            null::text,
            rank_code,
            null::text,
            is_ho_headcount <> was_ho_headcount,
            is_working_strength <> was_working_strength,
            is_held
        from followed
        where is_ho_headcount <> was_ho_headcount or is_working_strength <> was_working_strength
        union all
        select
            null::bigint,
            regraded.event_date,
            regraded.person_key,
            'reclassify_out',
            'regraded',
            regraded.workforce_group,
            null::text,
            null::text,
            null::text,
            earlier.rank_code,
            null::text,
            earlier.is_ho_headcount,
            earlier.is_working_strength,
            earlier.is_held
        from (select distinct person_key, workforce_group, event_date from regraded_from) as regraded
        inner join span as earlier
            on
                regraded.person_key = earlier.person_key
                and regraded.workforce_group = earlier.workforce_group
                and regraded.event_date = earlier.valid_to
        left join event
            on
                regraded.person_key = event.person_key
                and regraded.workforce_group = event.workforce_group
                and regraded.event_date = event.event_date
                and event.movement_type = 'leave'
        where event.person_key is null
        union all
        select
            null::bigint,
            regraded.valid_from,
            regraded.person_key,
            'reclassify_in',
            'regraded',
            regraded.workforce_group,
            null::text,
            null::text,
            null::text,
            later.rank_code,
            null::text,
            later.is_ho_headcount,
            later.is_working_strength,
            later.is_held
        from (select distinct person_key, workforce_group, valid_from from regraded) as regraded
        inner join span as later
            on
                regraded.person_key = later.person_key
                and regraded.workforce_group = later.workforce_group
                and regraded.valid_from = later.valid_from
        left join span as earlier
            on
                regraded.person_key = earlier.person_key
                and regraded.workforce_group = earlier.workforce_group
                and regraded.valid_from = earlier.valid_to
        left join event
            on
                regraded.person_key = event.person_key
                and regraded.workforce_group = event.workforce_group
                and regraded.valid_from = event.event_date
                and event.movement_type = 'join'
        where event.person_key is null and earlier.person_key is null
        union all
        select
            null::bigint,
            redeclared.event_date,
            redeclared.person_key,
            side.movement_type,
            'redeclared',
            span.workforce_group,
            null::text,
            null::text,
            null::text,
            span.rank_code,
            side.ethnicity_code,
            span.is_ho_headcount,
            span.is_working_strength,
            span.is_held
        from redeclared
        inner join {{ ref('dim_ethnicity') }} as former on redeclared.former_code = former.ethnicity_code
        inner join {{ ref('dim_ethnicity') }} as latter on redeclared.ethnicity_code = latter.ethnicity_code
        inner join {{ months }} as month on redeclared.month_end = month.month_end
        inner join span
            on
                redeclared.person_key = span.person_key
                and span.valid_from < month.month_start
                and (span.valid_to is null or span.valid_to >= month.month_start)
        cross join
            lateral (
                values ('reclassify_out', redeclared.former_code), ('reclassify_in', redeclared.ethnicity_code)
            ) as side (movement_type, ethnicity_code)
        where former.five_group <> latter.five_group and not span.is_of_another_force
    )

    select
        {{ hashed_key([
            'happened.event_id', 'happened.movement_type', 'happened.movement_kind', 'happened.workforce_group',
            'happened.event_date', 'happened.person_key'
        ]) }}::uuid as movement_key,
        happened.event_id,
        month.month_end,
        happened.event_date,
        happened.person_key,
        happened.movement_type,
        happened.movement_kind,
        happened.workforce_group,
        {{ movement_attributes('happened') }},
        happened.rank_code,
        coalesce(happened.ethnicity_code, ethnicity.ethnicity_code, 'NC') as ethnicity_code,
        coalesce(detail.sex_code, 'U') as sex_code,
        happened.is_ho_headcount,
        happened.is_working_strength,
        happened.is_held
    from happened
    inner join {{ months }} as month on {{ month_end_of('happened.event_date') }} = month.month_end
    left join {{ ref('int_person_detail') }} as detail on happened.person_key = detail.person_key
    left join {{ ref('int_ethnicity_period') }} as ethnicity
        on
            happened.person_key = ethnicity.person_key
            and ethnicity.valid_from <= month.counted_on
            and (ethnicity.valid_to is null or ethnicity.valid_to > month.counted_on)
{%- endmacro %}


{# How somebody joined, by which route, and why somebody left: the members that say it, not known or no such movement. #}
{% macro movement_attributes(movement) -%}
    coalesce({{ movement }}.joiner_type, case when {{ movement }}.movement_type = 'join' then 'UNK' else 'NONE' end)
        as joiner_type,
    coalesce(
        {{ movement }}.entry_route,
        case when {{ movement }}.movement_type = 'join' and {{ movement }}.workforce_group = 'OFF' then 'UNK' else 'NONE' end
    ) as entry_route,
    coalesce(
        {{ movement }}.leaving_reason_code, case when {{ movement }}.movement_type = 'leave' then 'UNK' else 'NONE' end
    ) as leaving_reason_code
{%- endmacro %}


{# The borough or command unit of an organisational unit: none where it has none, not known where it is not known. #}
{% macro area_of(code, org_type) -%}
    coalesce(
        {{ code }}, case when coalesce({{ org_type }}, 'UNKNOWN') in ('UNKNOWN', 'UNMAPPED') then 'UNK' else 'NONE' end
    )
{%- endmacro %}


{# A band that is listed; who has none where there should be one is of no known band, everyone else of no band. #}
{% macro band_of(band, workforce_group) -%}
    case
        when {{ workforce_group }} not in ('STAFF', 'PCSO', 'DESIG') then 'NONE'
        when {{ band }} in (select listed.band from {{ ref('dim_staff_band') }} as listed) then {{ band }}
        else 'UNK'
    end
{%- endmacro %}
