with known as ({{ known('history', 'ref_postcode_sector') }}
),

ranked as (
    select
        *,
        row_number() over (partition by sector order by share desc, area_code asc) = 1 as is_main_area
    from known
)

select
    sector,
    area_code,
    share as area_share,
    is_main_area,
    -- A person of the sector is put into its main area: so much of the sector is put there wrongly.
    1 - max(share) over (partition by sector) as straddling_share,
    is_held
from ranked
