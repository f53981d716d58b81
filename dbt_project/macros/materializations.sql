{#
  How models are made here. A build begins with empty schemas, so each relation is made under its own name, with its
  comments and statistics in the same statement. dbt's own makes it under another name, moves aside what was there,
  drops that afterwards and asks the catalogue which columns there are before it comments on them: a fifth of a build.
  Contracts, indexes, hooks and grants are as dbt's own.
#}
{% materialization table, adapter='postgres' -%}
    {{ return({'relations': [make_here('table', sql)]}) }}
{%- endmaterialization %}


{% materialization view, adapter='postgres' -%}
    {{ return({'relations': [make_here('view', sql)]}) }}
{%- endmaterialization %}


{% macro make_here(type, sql) -%}
    {%- set relation = this.incorporate(type=type) -%}
    {% do clear_the_way() %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {%- if type == 'view' -%}
        {{ get_create_view_as_sql(relation, sql) }}
        {{ comments_sql(relation) }}
        {%- else -%}
        {{ get_create_table_as_sql(False, relation, sql) }}
        {{ comments_sql(relation) }}
        {# Without statistics the planner takes a new table for an empty one. #}
        analyze {{ relation }};
        {%- endif -%}
    {%- endcall %}
    {% do create_indexes(relation) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do apply_grants(relation, config.get('grants'), should_revoke=False) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return(relation) }}
{%- endmacro %}


{#
  What an earlier run by hand left under a model's name goes, and what depends on it: that is built after it. In a
  transaction of its own and one model at a time, or two could wait for each other's: facts refer to several dimensions.
#}
{% macro clear_the_way() -%}
    {%- set standing = load_cached_relation(this) -%}
    {%- if standing is not none -%}
        {%- call statement('alone') -%} select pg_advisory_xact_lock(hashtext('peel clears the way')) {%- endcall -%}
        {%- do adapter.drop_relation(standing) -%}
        {%- call statement('cleared', auto_begin=False) -%} commit {%- endcall -%}
    {%- endif -%}
{%- endmacro %}


{# Comments on a model's relation and its columns; a column that is described and is not there is an error. #}
{% macro comments_sql(relation) -%}
    {%- if config.persist_relation_docs() -%}
    comment on {{ relation.type }} {{ relation }} is {{ postgres_escape_comment(model.description) }};
    {%- endif -%}
    {%- if config.persist_column_docs() -%}
    {%- for name, column in model.columns.items() %}
    comment on column {{ relation }}.{{ adapter.quote(name) }} is {{ postgres_escape_comment(column.description) }};
    {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{# Seeds have theirs the same way, in one statement. #}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- call statement('comments') -%} {{ comments_sql(relation) }} {%- endcall -%}
{%- endmacro %}
