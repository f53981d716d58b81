-- The boards of which anything differs between the last switch and tonight; those that are gone are named however
-- much is rebuilt.
select coalesce(tonight.board_id, switched.board_id) as board_id
from {{ ref('int_promotion_board') }} as tonight
full outer join
    {{ last_switched('fct_promotion_board', column_types('fct_promotion_board')) }} as switched
    on tonight.board_id = switched.board_id and tonight.person_key = switched.person_key
where {{ rows_differ('fct_promotion_board', 'tonight', 'switched') }}
union
select standing.board_id
from {{ standing_keys('fct_promotion_board', {'board_id': 'text'}) }} as standing
where standing.board_id not in (select board_id from {{ ref('int_promotion_board') }})
