-- Twelve questions a dashboard on `mart` asks; each is a transaction of its own, in the order of a page.
-- name: latest_strength
select workforce_group, sum(headcount) as heads, sum(fte) as fte
from mart.workforce_month
where month_end = (select max(month_end) from mart.workforce_month)
group by workforce_group;
-- name: strength_by_rank_and_ethnicity
select rank_group, e.five_group, sum(headcount) as heads
from mart.workforce_month as w
inner join mart.dim_ethnicity as e using (ethnicity_code)
where month_end = (select max(month_end) from mart.workforce_month) and workforce_group = 'OFF'
group by rank_group, e.five_group;
-- name: one_borough
select e.five_group, w.sex_code, sum(headcount) as heads
from mart.workforce_month as w
inner join mart.dim_ethnicity as e using (ethnicity_code)
where month_end = (select max(month_end) from mart.workforce_month) and posting_borough_code = 'E09000025'
group by e.five_group, w.sex_code;
-- name: officers_by_month
select month_end, opening, closing, joiners, leavers
from mart.roll_forward
where count_basis = 'HO_HEADCOUNT' and workforce_group = 'OFF' and five_group = 'Black'
order by month_end;
-- name: minority_share_by_month
select period_end, numerator, denominator, value
from mart.indicator_observation
where indicator_id = 'K01' and area_code = 'E23000001' and rank_group = 'all'
order by period_end;
-- name: representation_by_borough
select area_code, value, ratio
from mart.indicator_observation
where indicator_id = 'K01'
and period_end = (select max(period_end) from mart.indicator_observation where indicator_id = 'K01');
-- name: joiners_of_a_year
select month_end, joiner_type, entry_route, sum(movements) as joiners
from mart.movement_month
where movement_type = 'join' and month_end > (select max(month_end) from mart.movement_month) - interval '12 months'
group by month_end, joiner_type, entry_route;
-- name: leavers_by_reason
select leaving_reason_code, sex_code, sum(movements) as leavers
from mart.movement_month
where movement_type = 'leave' and workforce_group = 'OFF'
and month_end > (select max(month_end) from mart.movement_month) - interval '12 months'
group by leaving_reason_code, sex_code;
-- name: applicants_of_a_year
select month_end, e.five_group, sum(applications) as applications
from mart.applicant_month as a
inner join mart.dim_ethnicity as e using (ethnicity_code)
where month_end > (select max(month_end) from mart.applicant_month) - interval '12 months'
group by month_end, e.five_group;
-- name: stages_passed
select s.stage_label, sum(first_attempts) as first_attempts, sum(passed) as passed
from mart.stage_month as m
inner join mart.dim_stage as s using (stage_key)
where month_end > (select max(month_end) from mart.stage_month) - interval '12 months'
group by s.stage_label;
-- name: residents
select area_code, ethnicity_code, residents
from mart.population
where census_year = 2021 and area_code = 'E09000025';
-- name: as_of
select business_date, statement from mart.as_of;
