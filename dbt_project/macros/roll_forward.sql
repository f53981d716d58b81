{#
  Of a thousand people, how many may come or go without a word before the build is refused: HR tells of most leavers
  some days after their last. Peel's own figure; it is above what is late on any day, and below a table that lacks rows.
#}
{% macro unexplained_in_a_thousand() -%} 1 {%- endmacro %}


{# The two counts of heads that are rolled forward, as a relation of count_basis and heads. #}
{% macro count_bases(headcount, working_strength) -%}
    lateral (
        values ('HO_HEADCOUNT', {{ headcount }}), ('WORKING_STRENGTH', {{ working_strength }})
    ) as counted (count_basis, heads)
{%- endmacro %}


{#
  By how many heads movements change a stock, net, and how the stock itself changes: for every month but the
  first, count basis, workforce group and five-group, the heads that were there before, moved, and are not there
  now (fewer than none: that are there although nobody moved).

  stock: a relation of month_end, workforce_group, ethnicity_code, is_ho_headcount, is_working_strength.
  moved: the same, with movement_type.
#}
{% macro heads_missing(stock, moved) -%}
    select
        part.month_end,
        counted.count_basis,
        part.workforce_group,
        ethnicity.five_group,
        sum(counted.heads) as heads
    from (
        select
            {{ month_end_of('month_end + 1') }} as month_end,
            workforce_group,
            ethnicity_code,
            coalesce(is_ho_headcount, true)::integer as headcount,
            coalesce(is_working_strength, true)::integer as working_strength
        from {{ stock }}
        union all
        select
            month_end,
            workforce_group,
            ethnicity_code,
            -coalesce(is_ho_headcount, true)::integer,
            -coalesce(is_working_strength, true)::integer
        from {{ stock }}
        union all
        select
            month_end,
            workforce_group,
            ethnicity_code,
            coalesce(is_ho_headcount, true)::integer
            * case when movement_type in ('join', 'move_in', 'reclassify_in') then 1 else -1 end,
            coalesce(is_working_strength, true)::integer
            * case when movement_type in ('join', 'move_in', 'reclassify_in') then 1 else -1 end
        from {{ moved }}
        where movement_type in ('join', 'move_in', 'reclassify_in', 'leave', 'move_out', 'reclassify_out')
    ) as part
    inner join {{ ref('dim_ethnicity') }} as ethnicity on part.ethnicity_code = ethnicity.ethnicity_code
    cross join {{ count_bases('part.headcount', 'part.working_strength') }}
    where
        part.month_end > (select min(month_end) from {{ ref('int_month') }})
        and part.month_end <= (select max(month_end) from {{ ref('int_month') }})
    group by part.month_end, counted.count_basis, part.workforce_group, ethnicity.five_group
    having sum(counted.heads) <> 0
{%- endmacro %}
