{#
  The rows of a history table as they were known on the build's business date, each marked held where
  its key was delivered and is in quarantine.

  schema: `history`, or `sensitive` for tables with special category data.
  table: the contract's name.
#}
{% macro known(schema, table) -%}
    {%- set prefix = 'history_' if schema == 'sensitive' else '' %}
    select
        history.*,
        -- No join, so that a few rows are still found by an index.
        history.row_key in (
            select held.row_key
            from {{ source(schema, prefix ~ table ~ '_held') }} as held
            where
                held.row_key is not null
                and held.held_from <= {{ business_date() }}
                and (held.held_to is null or held.held_to > {{ business_date() }})
        ) as is_held
    from {{ source(schema, prefix ~ table) }} as history
    where
        history.known_from <= {{ business_date() }}
        and (history.known_to is null or history.known_to > {{ business_date() }})
{%- endmacro %}


{# A timestamp's calendar day in London. #}
{% macro london_date(expression) -%}
    ({{ expression }} at time zone 'Europe/London')::date
{%- endmacro %}


{# The financial year a day lies in, April to March, as 2024/25. #}
{% macro financial_year(day) -%}
    to_char({{ day }} - interval '3 months', 'YYYY') || '/' || to_char({{ day }} + interval '9 months', 'YY')
{%- endmacro %}


{# A person's key in the star: the first 128 bits of the keyed token, a quarter of its size as text. #}
{% macro person_key(token) -%}
    substr({{ token }}, 1, 32)::uuid
{%- endmacro %}
