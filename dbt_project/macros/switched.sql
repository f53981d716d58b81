{#
  A model as it was last switched into `core`; empty on the first night and when everything is rebuilt,
  so that every key then counts as changed.

  columns: names with types, for the empty form.
#}
{% macro last_switched(model, columns) -%}
    {%- set relation = none -%}
    {%- if execute and not rebuilds_all() -%}
        {%- set relation = adapter.get_relation(target.database, 'core', model) -%}
    {%- endif -%}
    {%- if relation is none -%}
        (select {% for name, type in columns.items() %}null::{{ type }} as {{ name }}{{ ', ' if not loop.last }}{% endfor %} where false)
    {%- else -%}
        (select {{ columns.keys() | join(', ') }} from {{ relation }})
    {%- endif -%}
{%- endmacro %}


{#
  Keys of a fact as they stand in `core`, however much is rebuilt: a row that is gone must be named for the switch
  to delete it. Empty where the table or one of the columns is not there.

  columns: names with types, for the empty form.
#}
{% macro standing_keys(model, columns) -%}
    {%- set relation = none -%}
    {%- if execute -%}
        {%- set found = adapter.get_relation(target.database, 'core', model) -%}
        {%- if found is not none -%}
            {%- set names = adapter.get_columns_in_relation(found) | map(attribute='name') | list -%}
            {%- if columns.keys() | reject('in', names) | list | length == 0 -%}
                {%- set relation = found -%}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
    {%- if relation is none -%}
        (select {% for name, type in columns.items() %}null::{{ type }} as {{ name }}{{ ', ' if not loop.last }}{% endfor %} where false)
    {%- else -%}
        (select {{ columns.keys() | join(', ') }} from {{ relation }})
    {%- endif -%}
{%- endmacro %}


{#
  A fact whole: the partitions rebuilt tonight from `next`, all others as last switched.

  fact: the model; affected: the model that lists rebuilt partitions; by: the partition's columns.
#}
{% macro whole(fact, affected, by) -%}
    {%- set rebuilt = ref(affected) -%}
    {%- set relation = none -%}
    {%- if execute and not rebuilds_all() -%}
        {%- set relation = adapter.get_relation(target.database, 'core', fact) -%}
    {%- endif -%}
    {%- set columns = model_columns(fact) | join(', ') -%}
    select {{ columns }} from {{ ref(fact) }}
    {%- if relation is not none %}
    union all
    select {{ columns }} from {{ relation }} as switched
    where not exists (
        select 1 from {{ rebuilt }} as affected
        where {% for name in by %}affected.{{ name }} = switched.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    )
    {%- endif %}
{%- endmacro %}


{#
  Keep to the days a small relation lists: on an ordinary night so that an index finds their rows in `core`.

  day: a column of a fact that is whole. days: a relation of one column.
#}
{% macro among(day, days) -%}
    {%- if execute and rebuilds_all() -%}
    {{ day }} in ({{ days }})
    {%- else -%}
    {{ day }} = any(array({{ days }}))
    {%- endif -%}
{%- endmacro %}


{# The columns a model's contract declares, in order. #}
{% macro model_columns(model) -%}
    {%- set found = [] -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name == model -%}
            {%- for column in node.columns -%}{%- do found.append(column) -%}{%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found or ['1']) }}
{%- endmacro %}


{# A model's columns with the types its contract declares. #}
{% macro column_types(model) -%}
    {%- set types = {} -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name == model -%}
            {%- for column in node.columns.values() -%}{%- do types.update({column.name: column.data_type}) -%}{%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(types or {'month_end': 'date'}) }}
{%- endmacro %}


{#
  Whether a month is rebuilt whatever changed: every month when everything is, else those from the month
  of the last switched night on, which was counted before its end.
#}
{% macro is_open_month(month_end) -%}
    {%- if rebuilds_all() or not last_business_day() -%}
        true
    {%- else -%}
        {{ month_end }} >= date '{{ last_business_day() }}'
    {%- endif -%}
{%- endmacro %}


{# Whether two rows of a fact differ in anything. #}
{% macro rows_differ(fact, tonight, switched) -%}
    {%- if execute -%}
        {%- set names = model_columns(fact) -%}
        ({% for name in names %}{{ tonight }}.{{ name }}{{ ', ' if not loop.last }}{% endfor %})
        is distinct from
        ({% for name in names %}{{ switched }}.{{ name }}{{ ', ' if not loop.last }}{% endfor %})
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}
