{#
  The months in which a fact's rows differ between the last switch and tonight, months a row has left
  included, and those still open; every month when everything is rebuilt.

  fact: the model, keyed by person_key and month_end.
  rows: SQL for the rows it would have tonight, of changed persons only.
#}
{% macro affected_months(fact, rows) -%}
    {%- if rebuilds_all() -%}
    select month_end
    from {{ ref('int_month') }}
    {%- else -%}
    with
    rows_tonight as (
        {{ rows }}
    ),

    tonight as (
        select {{ model_columns(fact) | join(', ') }} from rows_tonight
    ),

    switched as (
        select fact.*
        from {{ last_switched(fact, column_types(fact)) }} as fact
        inner join {{ ref('int_changed_person') }} as changed on fact.person_key = changed.person_key
    ),

    differing as (
        (select * from tonight except select * from switched)
        union all
        (select * from switched except select * from tonight)
    )

    select month_end
    from {{ ref('int_month') }}
    where
        month_end in (select month_end from differing)
        or {{ is_open_month('month_end') }}
    {%- endif -%}
{%- endmacro %}
