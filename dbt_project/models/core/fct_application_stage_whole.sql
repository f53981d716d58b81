{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('fct_application_stage', 'int_affected_application', ['application_id']) }}
