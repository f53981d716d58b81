{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('applicant_year', 'int_affected_applied_year', ['financial_year']) }}
