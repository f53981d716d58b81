{#
  Add every foreign key after the load: in a table's definition they cost forty times as much, and dbt
  drops them silently when the table they refer to is rebuilt alone.
  A column says what it refers to: `config: {meta: {references: dim_area.area_code}}`.
  Only what builds tables has keys to add: hooks also end `dbt test` and `dbt source freshness`.
#}
{% macro add_foreign_keys() -%}
    {%- if execute and flags.WHICH in ('build', 'run') -%}
        {%- for node in graph.nodes.values()
            if node.resource_type == 'model' and node.config.materialized == 'table' -%}
            {%- for column in node.columns.values() if column.config.meta.get('references') -%}
                {%- set table, key = column.config.meta.references.split('.') -%}
                {%- set relation = adapter.get_relation(target.database, node.schema, node.name) -%}
                {%- set parent = adapter.get_relation(target.database, node.schema, table) -%}
                {%- if relation is not none and parent is not none -%}
                    {%- set name = node.name ~ '_' ~ column.name ~ '_fkey' -%}
                    {%- do run_query(
                        'alter table ' ~ relation ~ ' drop constraint if exists ' ~ name
                        ~ ', add constraint ' ~ name ~ ' foreign key (' ~ column.name ~ ') references '
                        ~ parent ~ ' (' ~ key ~ ')'
                    ) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
