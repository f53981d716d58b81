with
affected as (
    select month.*
    from {{ ref('int_month') }} as month
    inner join {{ ref('int_affected_workforce_month') }} as affected on month.month_end = affected.month_end
),

counted as (
    {{ workforce_rows('affected', none if everyone_is_counted() else ref('int_changed_person')) }}
),

unchanged as (
    {{ unchanged_rows('fct_workforce_snapshot', 'affected') }}
),

keyless as (
    {{ keyless_rows('fct_workforce_snapshot') }}
)

select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from counted
union all
select {{ model_columns('fct_workforce_snapshot') | join(', ') }}
from unchanged
union all
select
    month_end,
    person_key,
    workforce_group,
    rank_code,
    -- What was kept before a column came to be says nothing of it.
    coalesce(rank_basis, case when workforce_group = 'OFF' then 'UNK' else 'NONE' end) as rank_basis,
    coalesce(band, 'none') as band,
    ethnicity_code,
    sex_code,
    age_band_code,
    coalesce(age_band_ons_code, 'ONS_UNK') as age_band_ons_code,
    org_unit_key,
    org_type,
    bcu_code,
    borough_code,
    coalesce(hours_basis, case when fte < 1 then 'PT' else 'FT' end) as hours_basis,
    fte,
    is_fte_capped,
    is_ho_headcount,
    is_working_strength,
    is_held
from keyless
where month_end in (select month_end from affected)
