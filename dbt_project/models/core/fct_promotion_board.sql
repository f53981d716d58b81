-- No total readers see stands on it yet, so nothing of it is kept of whoever is erased.
select {{ model_columns('fct_promotion_board') | join(', ') }}
from {{ ref('int_promotion_board') }}
