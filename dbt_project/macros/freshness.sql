{#
  `dbt source freshness` in delivery time: how many nights the latest applied delivery of a feed lies behind the newest
  business date that anything has come for, or behind the night dbt is told of, where it is. Never behind now:
  whether a feed is late by the clock, `peel status` says from the contracts' due times.
#}
{% macro postgres__collect_freshness_custom_sql(source, loaded_at_query) %}
    {%- call statement('collect_freshness_custom_sql', fetch_result=True, auto_begin=False) -%}
        select
            ({{ loaded_at_query }}) as max_loaded_at,
            {%- if business_day() == '1900-01-01' %}
            (select max(business_date)::timestamp at time zone 'UTC' from audit.delivery) as snapshotted_at
            {%- else %}
            '{{ business_day() }}'::timestamp at time zone 'UTC' as snapshotted_at
            {%- endif %}
    {%- endcall -%}
    {{ return(load_result('collect_freshness_custom_sql')) }}
{% endmacro %}
