{#
  The rows of a fact that people who were erased have left in closed months, as the fact's columns. The key
  of the row stands for every key: of a person, a movement or an application.

  fact: the model.
#}
{% macro keyless_rows(fact) -%}
    select fact_row.*
    from {{ source('keyless', 'fact_row') }} as kept
    cross join
        lateral jsonb_to_record(
            kept.attributes || jsonb_build_object(
                'person_key', kept.row_id,
                'application_id', kept.row_id,
                'movement_key', kept.row_id
            )
        ) as fact_row (
            {%- for name, type in column_types(fact).items() %}{{ name }} {{ type }}{{ ', ' if not loop.last }}{% endfor -%}
        )
    where
        kept.fact = '{{ fact }}'
        -- Until its erasure is known to be committed, the person is counted under their own key.
        and kept.request_id is null
{%- endmacro %}
