{#
  Whether an application is its candidate's latest of a period, in its workforce group: candidates are counted by it, so
  that whoever states another ethnicity or sex the second time is still one person.

  within: columns or SQL that say the period, and whatever else candidates are told apart by.
#}
{% macro is_latest_of_candidate(within) -%}
    row_number() over (
        partition by {{ within }}, workforce_group, person_key order by applied_on desc, application_id desc
    ) = 1
{%- endmacro %}
