{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('fct_application', 'int_affected_application', ['application_id']) }}
