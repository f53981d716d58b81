{# A build stands in `next`, its views for BI in `next_mart`; docs describe what readers see instead. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set is_mart = node.resource_type == 'model' and 'mart' in node.fqn -%}
    {%- if target.name == 'readers' -%}
        {{ 'mart' if is_mart else 'core' }}
    {%- else -%}
        {{ target.schema ~ '_mart' if is_mart else target.schema }}
    {%- endif -%}
{%- endmacro %}
