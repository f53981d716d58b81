-- No total readers see stands on it yet, so nothing of it is kept of whoever is erased.
select {{ model_columns('fct_training') | join(', ') }}
from {{ ref('int_training') }}
