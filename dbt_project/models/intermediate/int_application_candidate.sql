-- The candidate as known when they applied: the version in force on that day, else the first one after it. What the
-- source has blanked since never takes its place; it stands only where nothing else was ever delivered.
select distinct on (application.application_id)
    application.application_id,
    version.sex_code,
    version.ethnicity_code,
    version.is_outside_london,
    area.area_code as residence_borough_code
from {{ ref('stg_recruitment__application') }} as application
inner join {{ ref('stg_recruitment__candidate_version') }} as version
    on application.candidate_id = version.candidate_id
left join {{ ref('stg_postcode__sector') }} as sector
    on version.postcode_sector = sector.sector and sector.is_main_area
left join {{ ref('ref_area') }} as area on sector.area_code = area.area_code
where {{ of_changed_applications('application.application_id') }}
order by
    application.application_id,
    version.is_anonymised,
    version.known_from > application.applied_on,
    case when version.known_from <= application.applied_on then application.applied_on - version.known_from end,
    version.known_from
