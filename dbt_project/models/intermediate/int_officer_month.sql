-- Officers by month, area, rank group, five-group and sex for the months whose indicators are computed
-- again; an officer posted to a borough counts in the borough, its BCU and the Met's area.
with
months as (
    select distinct period_end as month_end
    from {{ ref('int_affected_period') }}
    where indicator_id in ('K01', 'K02', 'K05')
    union
    -- A quarter's stock is that of its last month counted so far.
    select least(period_end, (select max(month_end) from {{ ref('int_month') }}))
    from {{ ref('int_affected_period') }}
    where indicator_id = 'K03'
),

officer as (
    select
        workforce.month_end,
        workforce.rank_group,
        ethnicity.five_group,
        ethnicity.is_ethnic_minority,
        ethnicity.is_known,
        workforce.sex_code,
        workforce.bcu_code,
        workforce.borough_code,
        workforce.headcount
    from {{ ref('workforce_month_whole') }} as workforce
    inner join months on workforce.month_end = months.month_end
    inner join {{ ref('dim_ethnicity') }} as ethnicity on workforce.ethnicity_code = ethnicity.ethnicity_code
    where workforce.workforce_group = 'OFF'
)

select
    officer.month_end,
    area.area_code,
    ranks.rank_group,
    officer.five_group,
    officer.is_ethnic_minority,
    officer.is_known,
    officer.sex_code,
    sum(officer.headcount) as headcount
from officer
cross join
    lateral (
        select 'E23000001' as area_code
        union all
        select officer.bcu_code where officer.bcu_code not in ('NONE', 'UNK')
        union all
        select officer.borough_code where officer.borough_code not in ('NONE', 'UNK')
    ) as area
cross join
    lateral (
        select 'all' as rank_group
        union all
        select officer.rank_group where area.area_code not like 'E09%'
    ) as ranks
group by
    officer.month_end,
    area.area_code,
    ranks.rank_group,
    officer.five_group,
    officer.is_ethnic_minority,
    officer.is_known,
    officer.sex_code
