{# Wilson's 95% interval for a proportion, to six decimals; null where there is nothing to divide by. #}
{% macro wilson(numerator, denominator, bound) -%}
    {%- set z = '1.959963984540054' -%}
    {%- set sign = '-' if bound == 'lower' else '+' -%}
    case when {{ denominator }} > 0 then round(greatest(0, least(1, (
        {{ numerator }}::numeric / {{ denominator }} + {{ z }} * {{ z }} / (2 * {{ denominator }}::numeric)
        {{ sign }} {{ z }} * sqrt(
            {{ numerator }}::numeric / {{ denominator }}
            * (1 - {{ numerator }}::numeric / {{ denominator }}) / {{ denominator }}
            + {{ z }} * {{ z }} / (4 * {{ denominator }}::numeric * {{ denominator }})
        )
    ) / (1 + {{ z }} * {{ z }} / {{ denominator }}::numeric))), 6) end
{%- endmacro %}


{# A share to six decimals; null where there is nothing to divide by. #}
{% macro share(numerator, denominator) -%}
    round({{ numerator }}::numeric / nullif({{ denominator }}, 0), 6)
{%- endmacro %}


{# A 32-digit key: a hash of natural key and the day it is valid from. #}
{% macro hashed_key(expressions) -%}
    encode(substr(sha256(convert_to(concat_ws(chr(31), {{ expressions | join(', ') }}), 'UTF8')), 1, 16), 'hex')
{%- endmacro %}
