-- As known on the night readers see: the figures are those of the last switch.
select
    observation.*,
    (select max(build.business_date) from {{ source('audit', 'switched_build') }} as build) as as_known_on
from {{ ref('indicator_observation') }} as observation
