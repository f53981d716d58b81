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
        held.row_key is not null as is_held
    from {{ source(schema, prefix ~ table) }} as history
    left join (
        select distinct row_key
        from {{ source(schema, prefix ~ table ~ '_held') }}
        where
            held_from <= {{ business_date() }}
            and (held_to is null or held_to > {{ business_date() }})
    ) as held on history.row_key = held.row_key
    where
        history.known_from <= {{ business_date() }}
        and (history.known_to is null or history.known_to > {{ business_date() }})
{%- endmacro %}


{# The night this build is of. The mark lets a function be made of the compiled SQL: `peel.builds.as_known`. #}
{% macro business_date() -%}
    date '{{ var("business_date") }}' /* business_date */
{%- endmacro %}


{# The day a function's caller asks about; in a build it is the business date. #}
{% macro as_at() -%}
    date '{{ var("business_date") }}' /* as_at */
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
