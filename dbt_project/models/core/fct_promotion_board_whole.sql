{{ config(materialized='view', contract={'enforced': false}) }}

{{ whole('fct_promotion_board', 'int_changed_person', ['person_key']) }}
