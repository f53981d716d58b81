-- Heads set aside are those of rows in quarantine and of people who were erased, together: apart they would say
-- when somebody was.
select
    month_end,
    count_basis,
    workforce_group,
    five_group,
    opening,
    joiners,
    moves_in,
    reclassified_in,
    leavers,
    moves_out,
    reclassified_out,
    held_heads + erased_heads as set_aside,
    closing,
    unexplained
from {{ ref('roll_forward') }}
