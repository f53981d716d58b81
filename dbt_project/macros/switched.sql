{#
  A model as it was last switched into `core`; empty on the first night and when everything is rebuilt,
  so that every key then counts as changed.

  columns: names with types, for the empty form.
#}
{% macro last_switched(model, columns) -%}
    {%- set relation = none -%}
    {%- if execute and not var('rebuild_all') -%}
        {%- set relation = adapter.get_relation(target.database, 'core', model) -%}
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
    {%- if execute and not var('rebuild_all') -%}
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
    {%- if var('rebuild_all') or not var('last_business_date') -%}
        true
    {%- else -%}
        {{ month_end }} >= date '{{ var("last_business_date") }}'
    {%- endif -%}
{%- endmacro %}
