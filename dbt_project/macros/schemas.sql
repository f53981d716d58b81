{# A build stands in `next`, its views for BI in `next_mart`; docs describe what readers see instead. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set is_mart = node.resource_type == 'model' and 'mart' in node.fqn -%}
    {%- if target.name == 'readers' -%}
        {{ 'mart' if is_mart else 'core' }}
    {%- else -%}
        {{ target.schema ~ '_mart' if is_mart else target.schema }}
    {%- endif -%}
{%- endmacro %}


{# What readers see is made by the switch alone: `--target readers` is for docs. #}
{% macro leave_readers_alone() -%}
    {%- if execute and target.name == 'readers' and flags.WHICH in ('build', 'run', 'seed', 'clone') -%}
        {{ exceptions.raise_compiler_error("The target readers is for docs: core and mart are made by the switch.") }}
    {%- endif -%}
{%- endmacro %}
