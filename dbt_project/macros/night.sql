{#
  What a night's build is told, by the environment: dbt parses the whole project again when a variable differs, and
  every night's would. Nothing of it is known while dbt parses, and by hand everything is built as of the first day.
#}
{% macro business_day() -%}
    {{ return(env_var('PEEL_BUSINESS_DATE', '1900-01-01') if execute else '1900-01-01') }}
{%- endmacro %}


{# The night readers see now; empty on the first. #}
{% macro last_business_day() -%}
    {{ return(env_var('PEEL_LAST_BUSINESS_DATE', '') if execute else '') }}
{%- endmacro %}


{# Whether models, seeds, contracts or mappings changed since the last switch: every month is built. #}
{% macro rebuilds_all() -%}
    {{ return((env_var('PEEL_REBUILD_ALL', 'true') if execute else 'true') == 'true') }}
{%- endmacro %}


{# The night this build is of. The mark lets a function be made of the compiled SQL: `peel.builds.as_known`. #}
{% macro business_date() -%}
    date '{{ business_day() }}' /* business_date */
{%- endmacro %}


{# The day a function's caller asks about; in a build it is the business date. #}
{% macro as_at() -%}
    date '{{ business_day() }}' /* as_at */
{%- endmacro %}
