-- A stage as one version of the process had it: its wording, and whether it ran beside its neighbours.
select
    {{ stage_key('process.process_version', 'process.stage_code') }} as stage_key,
    process.process_version,
    process.stage_code,
    stage.stage_order::integer as stage_order,
    stage.stage_label,
    process.stage_wording,
    process.is_parallel,
    process.process_version <> 'UNKNOWN' as is_known,
    process.provenance
from {{ ref('ref_process_stage') }} as process
inner join {{ ref('ref_stage') }} as stage on process.stage_code = stage.stage_code
