{#
  Whether history up to the last switched night is as it was when that night was built: then whatever changed since
  began, ended or came on a later day, and nobody else need be looked at. `peel.builds.build` says when.
#}
{% macro history_stands() -%}
    {{ return((env_var('PEEL_HISTORY_STANDS', 'false') if execute else 'false') == 'true') }}
{%- endmacro %}


{# Whether a day has come since the last switched night; nobody is picked out by it when history was written anew. #}
{% macro came_since(day) -%}
    {%- if execute and not history_stands() -%} false {%- else -%}
    ({{ day }} > date '{{ last_business_day() }}' and {{ day }} <= {{ business_date() }})
    {%- endif -%}
{%- endmacro %}


{#
  Whose rows of a history table began or ended since the last switched night, were held or let go, or have a day that
  has come.

  schema, table: as for `known`.
  subject: the column that says whose.
  days: SQL for days that may lie ahead, of `history`.
#}
{% macro touched(schema, table, subject, days=[]) -%}
    {%- set prefix = 'history_' if schema == 'sensitive' else '' %}
    select history.{{ subject }}
    from {{ source(schema, prefix ~ table) }} as history
    where
        {{ came_since('history.known_from') }}
        or {{ came_since('history.known_to') }}
    {%- for day in days %}
        or {{ came_since(day) }}
    {%- endfor %}
    union all
    select history.{{ subject }}
    from {{ source(schema, prefix ~ table ~ '_held') }} as held
    inner join {{ source(schema, prefix ~ table) }} as history on held.row_key = history.row_key
    where
        {{ came_since('held.held_from') }}
        or {{ came_since('held.held_to') }}
{%- endmacro %}


{#
  Keep to those who may have changed; to all when history was written anew.

  subject: person, candidate or application. key: SQL for theirs, of the kind the subject's list has.
#}
{% macro of_touched(subject, key) -%}
    {%- if execute and not history_stands() -%} true {%- else -%}
    {%- set named = {'person': 'person_key', 'candidate': 'candidate_id', 'application': 'application_id'}[subject] -%}
    {{ key }} in (select touched.{{ named }} from {{ ref('int_touched_' ~ subject) }} as touched)
    {%- endif -%}
{%- endmacro %}
