-- Candidates who may have changed since the last switch, themselves or by an application, one of its stages, its
-- campaign or source, the area they live in, or the person HR knows them as, or knew; and whoever is, or was, the
-- same person as one of them. An application that changed hands is both candidates'. Empty when history was written
-- anew: nobody is picked out then.
with
touched as (
    {{ touched('sensitive', 'ats_candidate', 'candidate_id') }}
    union all
    {%- for table, column, days in [
        ('ats_application', 'application_id', [london_date('history.applied_ts')]),
        ('ats_stage_event', 'application_id', []),
        ('ats_campaign', 'campaign_id', []),
        ('ats_source', 'source_code', []),
    ] %}
        select application.candidate_id
        from {{ source('history', 'ats_application') }} as application
        where application.{{ column }} in ({{ touched('history', table, column, days) }})
        union all
    {%- endfor %}
    select candidate.candidate_id
    from {{ source('sensitive', 'history_ats_candidate') }} as candidate
    where candidate.postcode_sector in ({{ touched('history', 'ref_postcode_sector', 'sector') }})
    union all
    select application.candidate_id
    from {{ source('history', 'ats_application') }} as application
    where application.person_id in (select person.person_id from {{ ref('int_touched_person') }} as person)
),

identity as (
    select distinct
        email_hash,
        phone_hash,
        date_of_birth
    from {{ source('sensitive', 'history_ats_candidate') }}
    where candidate_id in (select candidate_id from touched)
),

alike as (
    select candidate.candidate_id
    from identity
    inner join {{ source('sensitive', 'history_ats_candidate') }} as candidate
        on
            identity.email_hash = candidate.email_hash
            and identity.phone_hash = candidate.phone_hash
            and identity.date_of_birth = candidate.date_of_birth
),

-- Whoever has another identity by now is of another group, which nobody touched.
latest as (
    select distinct on (candidate_id)
        candidate_id,
        email_hash,
        phone_hash,
        date_of_birth
    from {{ ref('stg_recruitment__candidate_version') }}
    where
        candidate_id in (select candidate_id from alike)
        and email_hash is not null and phone_hash is not null and date_of_birth is not null
    order by candidate_id asc, known_from desc
)

select candidate_id
from touched
union
select latest.candidate_id
from latest
inner join identity
    on
        latest.email_hash = identity.email_hash
        and latest.phone_hash = identity.phone_hash
        and latest.date_of_birth = identity.date_of_birth
