select
    snapshot.month_end,
    snapshot.workforce_group,
    snapshot.rank_code,
    rank.rank_group,
    snapshot.band,
    snapshot.ethnicity_code,
    snapshot.sex_code,
    snapshot.age_band_code,
    snapshot.org_type,
    coalesce(snapshot.bcu_code, 'none') as bcu_code,
    coalesce(snapshot.borough_code, 'none') as borough_code,
    count(*)::integer as headcount,
    sum(snapshot.fte)::numeric(12, 3) as fte,
    (count(*) filter (where snapshot.is_working_strength))::integer as working_strength,
    (count(*) filter (where snapshot.hours_basis = 'PT'))::integer as part_time,
    (count(*) filter (where snapshot.rank_basis = 'TEMP'))::integer as temporary_rank,
    (count(*) filter (where snapshot.is_held))::integer as held,
    (count(*) filter (where snapshot.is_fte_capped))::integer as fte_capped
from {{ ref('fct_workforce_snapshot') }} as snapshot
inner join {{ ref('dim_rank') }} as rank on snapshot.rank_code = rank.rank_code
where snapshot.is_ho_headcount
group by
    snapshot.month_end,
    snapshot.workforce_group,
    snapshot.rank_code,
    rank.rank_group,
    snapshot.band,
    snapshot.ethnicity_code,
    snapshot.sex_code,
    snapshot.age_band_code,
    snapshot.org_type,
    snapshot.bcu_code,
    snapshot.borough_code
