{#
  The one row shape of all observations. Each argument is SQL over the relation `counted`, which has the
  period (period_kind, period_start, period_end) and what the indicator names.
#}
{% macro observation(
    indicator_id, numerator, denominator, dimension, basis, feed,
    area_code="'E23000001'", workforce_group="'OFF'", rank_group="'all'", ethnic_group="'all'", sex="'all'",
    comparator_value='null', comparator_source='null', target='null'
) -%}
    select
        '{{ indicator_id }}'::text as indicator_id,
        counted.period_start::date as period_start,
        counted.period_end::date as period_end,
        ({{ area_code }})::text as area_code,
        ({{ workforce_group }})::text as workforce_group,
        ({{ rank_group }})::text as rank_group,
        ({{ ethnic_group }})::text as ethnic_group,
        ({{ sex }})::text as sex,
        ({{ dimension }})::text as dimension,
        ({{ numerator }})::bigint as numerator,
        ({{ denominator }})::bigint as denominator,
        ({{ share(numerator, denominator) }})::numeric(9, 6) as value,
        ({{ wilson(numerator, denominator, 'lower') }})::numeric(9, 6) as lower,
        ({{ wilson(numerator, denominator, 'upper') }})::numeric(9, 6) as upper,
        'Wilson 95%'::text as method,
        ({{ basis }})::text as basis,
        ({{ comparator_value }})::numeric(9, 6) as comparator_value,
        ({{ comparator_source }})::text as comparator_source,
        case
            when ({{ comparator_value }}) > 0
                then round(({{ share(numerator, denominator) }}) / ({{ comparator_value }}), 4)
        end::numeric(12, 4) as ratio,
        ({{ target }})::numeric(9, 6) as target,
        case
            when ({{ target }}) is null or ({{ denominator }}) = 0 then null
            when ({{ wilson(numerator, denominator, 'lower') }}) >= ({{ target }}) then 'above the ambition'
            when ({{ wilson(numerator, denominator, 'upper') }}) < ({{ target }}) then 'below the ambition'
            else 'we cannot tell'
        end::text as verdict,
        case
            when ({{ denominator }}) < 30 then 'small denominator'
            when counted.period_end > {{ business_date() }} then 'period still open'
        end::text as quality,
        source.source_kind::text as source_kind
    from counted
    left join {{ ref('int_source_kind') }} as source on source.feed = '{{ feed }}'
{%- endmacro %}
