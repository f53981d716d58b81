-- The months whose movements differ between the last switch and tonight, and the open ones.
{% if var('rebuild_all') %}
    select month_end
    from {{ ref('int_month') }}
{% else %}
    with
    rows_tonight as (
        {{ movement_rows(ref('int_changed_person')) }}
    ),

    tonight as (
        select {{ model_columns('fct_workforce_movement') | join(', ') }} from rows_tonight
    ),

    switched as (
        select movement.*
        from {{ last_switched('fct_workforce_movement', column_types('fct_workforce_movement')) }} as movement
        inner join {{ ref('int_changed_person') }} as changed on movement.person_key = changed.person_key
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
