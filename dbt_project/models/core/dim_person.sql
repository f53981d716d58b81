-- Periods in which what HR says of a person was the same: the group they declared and where they live. Sex is as last
-- recorded. Of several records of a person the one that began last says where they live. Facts have the person's
-- key and what was true of them at the time; whoever was erased has left rows under keys that are not here.
with
recorded as (
    select distinct on (person.person_key, record.effective_start_date)
        person.person_key,
        record.effective_start_date as day,
        case
            when area.area_code is not null then area.area_code
            -- A sector of which no directory says where it lies is not known, as is no sector.
            when sector.sector is not null then 'OUTSIDE'
            else 'UNK'
        end as home_area
    from {{ ref('stg_hr__person') }} as record
    inner join {{ ref('int_person') }} as person on record.person_id = person.person_id
    left join {{ ref('stg_postcode__sector') }} as sector
        on record.home_postcode_sector = sector.sector and sector.is_main_area
    left join {{ ref('ref_area') }} as area on sector.area_code = area.area_code
    where {{ of_changed_persons('person.person_key') }}
    order by person.person_key asc, record.effective_start_date asc, record.person_id desc, record.person_type asc
),

said as (
    select
        person_key,
        day,
        max(home_area) as home_area,
        max(ethnicity_code) as ethnicity_code
    from (
        select
            person_key,
            day,
            home_area,
            null::text as ethnicity_code
        from recorded
        union all
        select
            person_key,
            valid_from,
            null::text,
            ethnicity_code
        from {{ ref('int_ethnicity_period') }}
        where {{ of_changed_persons('person_key') }}
    ) as days
    group by person_key, day
),

numbered as (
    select
        *,
        count(home_area) over (partition by person_key order by day) as homes,
        count(ethnicity_code) over (partition by person_key order by day) as declarations
    from said
),

standing as (
    select
        person_key,
        day,
        coalesce(max(home_area) over (partition by person_key, homes), 'UNK') as home_area,
        coalesce(max(ethnicity_code) over (partition by person_key, declarations), 'NC') as ethnicity_code
    from numbered
),

changed as (
    select
        person_key,
        day as valid_from,
        home_area,
        ethnicity_code,
        coalesce(
            lag(home_area) over (partition by person_key order by day) <> home_area
            or lag(ethnicity_code) over (partition by person_key order by day) <> ethnicity_code,
            true
        ) as differs
    from standing
)

select
    {{ hashed_key(['changed.person_key', 'changed.valid_from']) }}::uuid as person_period_key,
    changed.person_key,
    changed.valid_from,
    lead(changed.valid_from) over (partition by changed.person_key order by changed.valid_from) as valid_to,
    changed.ethnicity_code,
    coalesce(detail.sex_code, 'U') as sex_code,
    changed.home_area,
    coalesce(detail.is_held, false) as is_held
from changed
left join {{ ref('int_person_detail') }} as detail on changed.person_key = detail.person_key
where changed.differs
