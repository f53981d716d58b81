{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('roll_forward', 'int_affected_roll_forward_month', ['month_end']) }}
