{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('fct_workforce_snapshot', 'int_affected_workforce_month', ['month_end']) }}
