{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('applicant_month', 'int_affected_applied_month', ['month_end']) }}
