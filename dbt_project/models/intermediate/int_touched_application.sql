-- Applications that may have changed since the last switch: those of candidates who may have, those that changed
-- hands or vanished, and those at whose stages something happened, known or not. Empty when history was written
-- anew: none is picked out then.
select application_id
from {{ ref('stg_recruitment__application') }}
where candidate_id in (select candidate_id from {{ ref('int_touched_candidate') }})
union
({{ touched('history', 'ats_application', 'application_id', [london_date('history.applied_ts')]) }})
union
({{ touched('history', 'ats_stage_event', 'application_id') }})
