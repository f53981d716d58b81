{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('fct_workforce_movement', 'int_affected_movement_month', ['month_end']) }}
