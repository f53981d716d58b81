select
    board_id,
    rank_to as board_rank_code,
    process_type,
    person_id,
    eligible_flag = 'Y' as is_eligible,
    applied_flag = 'Y' as has_applied,
    exam_outcome,
    board_outcome,
    promoted_date as promoted_on,
    is_held
from ({{ known('history', 'hr_promotion_board') }}) as known
