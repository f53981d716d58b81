-- Applications that came, went or differ since the last switch, with the months they are or were counted in.
with
tonight as (
    select {{ model_columns('fct_application') | join(', ') }} from {{ ref('int_application') }}
),

switched as (
    select * from {{ last_switched('fct_application', column_types('fct_application')) }} as application
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

select distinct
    application_id,
    applied_month_end
from differing
