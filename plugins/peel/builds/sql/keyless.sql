-- Copies a person's rows of closed months out of the star, as they were last switched, with what published
-- totals need of them and nothing else. A month is closed before the month of the last switched night.
--
-- Distinct candidates are counted by month, by month and route, and by financial year. Without a key nobody can
-- be told apart any more, so each application says where it is the one its candidate is counted by. A candidate may
-- have registered twice: what is erased goes by the registration, and an application counts its candidate only
-- where no application under another registration still does.
--
-- Outcomes at stages have no demographics of their own: what is kept of them is one row of stage_month each.
--
-- In no particular order: rows that lie together would join.
--
-- Parameters: request_id bigint; person_keys text[]; has_objected boolean (to what is of a special category:
-- then nothing is kept of it, although the star may not have been built since).
insert into keyless.fact_row (fact, month_end, attributes, request_id)
with
closed as (
    select date_trunc('month', business_date)::date as before_day
    from audit.switched_build
),

person as (
    select cast(unnest(cast(%(person_keys)s as text[])) as uuid) as person_key
),

workforce as (
    select
        'fct_workforce_snapshot' as fact,
        month_end,
        jsonb_build_object(
            'month_end', month_end,
            'workforce_group', workforce_group,
            'rank_code', rank_code,
            'rank_basis', rank_basis,
            'band', band,
            'ethnicity_code', case when %(has_objected)s then 'NC' else ethnicity_code end,
            'sex_code', sex_code,
            'age_band_code', age_band_code,
            'age_band_ons_code', age_band_ons_code,
            'org_type', org_type,
            'bcu_code', bcu_code,
            'borough_code', borough_code,
            'hours_basis', hours_basis,
            'fte', fte,
            'is_fte_capped', is_fte_capped,
            'is_ho_headcount', is_ho_headcount,
            'is_working_strength', is_working_strength,
            'is_held', is_held
        ) as attributes
    from core.fct_workforce_snapshot
    where person_key in (select person_key from person) and is_ho_headcount
),

movement as (
    select
        'fct_workforce_movement' as fact,
        month_end,
        jsonb_build_object(
            'month_end', month_end,
            'event_date', month_end,
            'movement_type', movement_type,
            'movement_kind', movement_kind,
            'workforce_group', workforce_group,
            'joiner_type', joiner_type,
            'entry_route', entry_route,
            'leaving_reason_code', leaving_reason_code,
            'rank_code', rank_code,
            'ethnicity_code', case when %(has_objected)s then 'NC' else ethnicity_code end,
            'sex_code', sex_code,
            'is_ho_headcount', is_ho_headcount,
            'is_working_strength', is_working_strength,
            'is_held', false
        ) as attributes
    from core.fct_workforce_movement
    where person_key in (select person_key from person)
),

applied as (
    select
        application_id,
        person_key,
        applied_month_end,
        applied_on,
        workforce_group,
        entry_route,
        ethnicity_code,
        sex_code,
        attributed_category,
        furthest_stage_key,
        residence_area,
        candidate_key in (select person_key from person) as is_theirs
    from core.fct_application
    where
        person_key in (
            select theirs.person_key from core.fct_application as theirs
            where theirs.candidate_key in (select person_key from person)
        )
),

ranked as (
    select
        *,
        row_number() over (
            partition by person_key, workforce_group, applied_month_end
            order by is_theirs asc, applied_on desc, application_id desc
        ) = 1 as counts_in_month,
        row_number() over (
            partition by person_key, workforce_group, applied_month_end, entry_route
            order by is_theirs asc, applied_on desc, application_id desc
        ) = 1 as counts_in_route_month,
        row_number() over (
            partition by person_key, workforce_group, date_trunc('year', applied_on - interval '3 months')
            order by is_theirs asc, applied_on desc, application_id desc
        ) = 1 as counts_in_year
    from applied
),

application as (
    select
        'fct_application' as fact,
        applied_month_end as month_end,
        jsonb_build_object(
            'applied_month_end', applied_month_end,
            'applied_on', applied_month_end,
            'workforce_group', workforce_group,
            'entry_route', entry_route,
            'attributed_category', attributed_category,
            'furthest_stage_key', furthest_stage_key,
            'ethnicity_code', case when %(has_objected)s then 'NC' else ethnicity_code end,
            'sex_code', sex_code,
            'residence_area', residence_area,
            'is_held', false,
            'counts_in_month', counts_in_month,
            'counts_in_route_month', counts_in_route_month,
            'counts_in_year', counts_in_year
        ) as attributes
    from ranked
    where is_theirs
),

stage as (
    select
        'stage_month' as fact,
        (date_trunc('month', stage.event_on) + interval '1 month' - interval '1 day')::date as month_end,
        jsonb_build_object(
            'month_end', (date_trunc('month', stage.event_on) + interval '1 month' - interval '1 day')::date,
            'workforce_group', applied.workforce_group,
            'stage_key', stage.stage_key,
            'ethnicity_code', case when %(has_objected)s then 'NC' else applied.ethnicity_code end,
            'sex_code', applied.sex_code,
            'first_attempts', 1,
            'passed', (stage.outcome = 'PASS')::integer,
            'failed', (stage.outcome = 'FAIL')::integer,
            'withdrawn', stage.is_withdrawal::integer,
            'otherwise_ended', (stage.outcome in ('NO_SHOW', 'DEFERRED', 'EXPIRED'))::integer,
            'imputed', stage.is_imputed::integer
        ) as attributes
    from applied
    inner join core.fct_application_stage as stage on applied.application_id = stage.application_id
    where applied.is_theirs and stage.attempt_no = 1
),

counted as (
    select * from workforce
    union all
    select * from movement
    union all
    select * from application
    union all
    select * from stage
)

select
    counted.fact,
    counted.month_end,
    counted.attributes,
    %(request_id)s
from counted
inner join closed on counted.month_end < closed.before_day
order by random()
