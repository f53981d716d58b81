{#
  Comments on columns, in place of dbt's own, which first asks the catalogue which columns there are, a tenth of a
  build's time. A column that is described and is not there is an error here; dbt would pass it over.
#}
{% macro postgres__alter_column_comment(relation, column_dict) -%}
    {%- for name, column in column_dict.items() %}
    comment on column {{ relation }}.{{ adapter.quote(name) }} is {{ postgres_escape_comment(column['description']) }};
    {%- endfor %}
{%- endmacro %}
