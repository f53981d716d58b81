-- Persons who may have changed since the last switch: of whom a row began, ended, was held or let go, or a day came,
-- or whose unit or postcode moved; and who shares, or ever shared, a National Insurance token with one of them, since the record
-- hired first gives the key. Each by number and the key it would give: whoever's key is another's is named by that
-- one. Empty when history was written anew: nobody is picked out then.
with
touched as (
    {{ touched('history', 'hr_person', 'person_id') }}
    union all
    {{ touched(
        'history', 'hr_assignment', 'person_id',
        ['history.effective_start_date', 'history.effective_end_date + 1']
    ) }}
    union all
    {{ touched('sensitive', 'hr_sensitive', 'person_id', [london_date('history.declared_ts')]) }}
    union all
    {{ touched('history', 'hr_service_event', 'person_id', ['history.event_date']) }}
    union all
    {{ touched('history', 'hr_promotion_board', 'person_id') }}
    union all
    {{ touched('history', 'hr_training', 'person_id', ['history.event_date']) }}
    union all
    select assignment.person_id
    from {{ source('history', 'hr_assignment') }} as assignment
    where
        assignment.org_unit_id in (
            {{ touched(
                'history', 'hr_org_unit', 'org_unit_id',
                ['history.effective_start_date', 'history.effective_end_date + 1']
            ) }}
        )
    union all
    select record.person_id
    from {{ source('history', 'hr_person') }} as record
    where record.home_postcode_sector in ({{ touched('history', 'ref_postcode_sector', 'sector') }})
),

identified as (
    select distinct national_insurance_hash
    from {{ source('history', 'hr_person') }}
    where person_id in (select person_id from touched) and national_insurance_hash is not null
)

select
    person_id,
    {{ person_key('person_id') }} as person_key
from touched
union
select
    record.person_id,
    {{ person_key('record.person_id') }}
from {{ source('history', 'hr_person') }} as record
inner join identified on record.national_insurance_hash = identified.national_insurance_hash
