-- The months in which anything in force at the count date differs between the last switch and tonight,
-- months a row has left included, and those from the last switch's month to the present one.
{% if var('rebuild_all') %}
    select month_end
    from {{ ref('int_month') }}
{% else %}
    with
    rows_tonight as (
        {{ workforce_rows(ref('int_month'), ref('int_changed_person')) }}
    ),

    tonight as (
        select {{ model_columns('fct_workforce_snapshot') | join(', ') }} from rows_tonight
    ),

    switched as (
        select snapshot.*
        from {{ last_switched('fct_workforce_snapshot', column_types('fct_workforce_snapshot')) }} as snapshot
        inner join {{ ref('int_changed_person') }} as changed on snapshot.person_key = changed.person_key
    ),

    differing as (
        (
            select * from tonight
            except
            select * from switched
        )
        union all
        (
            select * from switched
            except
            select * from tonight
        )
    )

    select month_end
    from {{ ref('int_month') }}
    where
        month_end in (select month_end from differing)
        or {{ is_open_month('month_end') }}
{% endif %}
