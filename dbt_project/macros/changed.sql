{#
  Whether everyone's lines of time are drawn tonight, not those of changed persons alone: when everything is rebuilt,
  and when a month opens, whose workforce nobody has been counted in yet.
#}
{% macro everyone_is_counted() -%}
    {{ return(
        rebuilds_all() or not last_business_day()
        or business_day()[:7] != last_business_day()[:7]
    ) }}
{%- endmacro %}


{#
  The rows of a history table as known tonight, each with a number made of its content, of whether it is held, and of
  which of its days have come: rows that mean the same tonight have the same number, any others do not.

  days: SQL for days that may lie ahead.
#}
{% macro marked(schema, table, days=[]) -%}
    select
        known.*,
        hashint8extended(
            substr(known.row_hash, 1, 8)::bigint,
            known.is_held::integer
            {%- for day in days %} + {{ 2 ** loop.index }} * coalesce({{ day }} <= {{ business_date() }}, false)::integer{% endfor %}
        ) as mark
    from ({{ known(schema, table) }}) as known
{%- endmacro %}


{# Keep to changed persons; to everyone when everything is rebuilt. #}
{% macro of_changed_persons(person_key) -%}
    {%- if execute and rebuilds_all() -%} true {%- else -%}
    {{ person_key }} in (select changed.person_key from {{ ref('int_changed_person') }} as changed)
    {%- endif -%}
{%- endmacro %}


{# Keep to those whose lines of time are drawn tonight: in the same words every night, since functions are made of them. #}
{% macro of_persons_tonight(person_key) -%}
    {{ person_key }} in (select tonight.person_key from {{ ref('int_person_tonight') }} as tonight)
{%- endmacro %}


{# Keep to changed applications; to all when everything is rebuilt. #}
{% macro of_changed_applications(application_id) -%}
    {%- if execute and rebuilds_all() -%} true {%- else -%}
    {{ application_id }} in (select changed.application_id from {{ ref('int_changed_application') }} as changed)
    {%- endif -%}
{%- endmacro %}


{#
  The rows of a fact of months that are counted again, of persons of whom nothing has changed: as last switched.
  None when everyone is counted.

  fact: the model, keyed by person_key and month_end; affected: a relation of month_end.
#}
{% macro unchanged_rows(fact, affected) -%}
    {%- if execute and everyone_is_counted() -%}
    select * from counted where false
    {%- else -%}
    select standing.*
    from {{ last_switched(fact, column_types(fact)) }} as standing
    where
        standing.month_end in (select month_end from {{ affected }})
        and not exists (select 1 from {{ ref('int_changed_person') }} as changed where standing.person_key = changed.person_key)
        and not exists (
            select 1 from {{ source('keyless', 'fact_row') }} as kept where kept.fact = '{{ fact }}' and standing.person_key = kept.row_id
        )
    {%- endif -%}
{%- endmacro %}
