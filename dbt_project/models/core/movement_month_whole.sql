{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('movement_month', 'int_affected_movement_month', ['month_end']) }}
