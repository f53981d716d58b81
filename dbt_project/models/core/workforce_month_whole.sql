{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('workforce_month', 'int_affected_workforce_month', ['month_end']) }}
