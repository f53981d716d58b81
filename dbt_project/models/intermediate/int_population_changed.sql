-- Whether any figure of residents differs from the last switch: then every comparison is made again.
with
tonight as (
    select {{ model_columns('fct_population') | join(', ') }} from {{ ref('fct_population') }}
),

switched as (
    select * from {{ last_switched('fct_population', column_types('fct_population')) }} as population
)

select
    exists (
        select * from tonight
        except
        select * from switched
    )
    or exists (
        select * from switched
        except
        select * from tonight
    ) as is_changed
