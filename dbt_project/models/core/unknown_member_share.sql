-- How many rows of each fact are of a dimension's unknown member, and what becomes of a build in which they are too
-- many. The workforce is looked at in its latest month, who left and who applied over twelve months, boards over all time:
-- what breaks tonight is not to be thinned out by all that was well before.
with
latest as (
    select
        max(month_end) as month_end,
        (max(month_end) - interval '12 months')::date as a_year_before
    from {{ ref('int_month') }}
),

counted (fact_name, dimension_name, fact_rows, unknown_rows) as (
    select
        'fct_workforce_snapshot',
        unnest(array[
            'dim_org_unit', 'dim_area', 'dim_staff_band', 'dim_rank', 'dim_ethnicity', 'dim_sex', 'dim_age_band'
        ]),
        unnest(array[
            count(*) filter (where is_ho_headcount),
            count(*) filter (where is_ho_headcount),
            count(*) filter (where is_ho_headcount and band <> 'NONE'),
            count(*) filter (where is_ho_headcount and rank_code <> 'NONE'),
            count(*) filter (where is_ho_headcount),
            count(*) filter (where is_ho_headcount),
            count(*) filter (where is_ho_headcount)
        ]),
        unnest(array[
            count(*) filter (where is_ho_headcount and org_type in ('UNKNOWN', 'UNMAPPED')),
            count(*) filter (where is_ho_headcount and 'UNK' in (bcu_code, borough_code)),
            count(*) filter (where is_ho_headcount and band = 'UNK'),
            count(*) filter (where is_ho_headcount and rank_code = 'UNK'),
            count(*) filter (where is_ho_headcount and ethnicity_code = 'NC'),
            count(*) filter (where is_ho_headcount and sex_code = 'U'),
            count(*) filter (where is_ho_headcount and age_band_code = 'HO_UNK')
        ])
    from {{ ref('fct_workforce_snapshot_whole') }}
    where month_end = (select month_end from latest)
    union all
    select
        'fct_workforce_movement',
        unnest(array[
            'dim_joiner_type', 'dim_entry_route', 'dim_leaving_reason', 'dim_rank', 'dim_ethnicity', 'dim_sex'
        ]),
        unnest(array[
            count(*) filter (where movement_type = 'join'),
            count(*) filter (where movement_type = 'join' and entry_route <> 'NONE'),
            count(*) filter (where movement_type = 'leave'),
            count(*) filter (where rank_code <> 'NONE'),
            count(*),
            count(*)
        ]),
        unnest(array[
            count(*) filter (where joiner_type = 'UNK'),
            count(*) filter (where entry_route = 'UNK'),
            count(*) filter (where leaving_reason_code = 'UNK'),
            count(*) filter (where rank_code = 'UNK'),
            count(*) filter (where ethnicity_code = 'NC'),
            count(*) filter (where sex_code = 'U')
        ])
    from {{ ref('fct_workforce_movement_whole') }}
    where month_end > (select a_year_before from latest)
    union all
    select
        'fct_application',
        unnest(array[
            'dim_campaign', 'dim_source', 'dim_stage', 'dim_entry_route', 'dim_ethnicity', 'dim_sex', 'dim_area'
        ]),
        count(*),
        unnest(array[
            count(*) filter (where campaign_id = '(UNKNOWN)'),
            count(*) filter (where source_code = '(UNKNOWN)'),
            count(*) filter (where furthest_stage_key like 'UNKNOWN:%'),
            count(*) filter (where entry_route = 'UNK'),
            count(*) filter (where ethnicity_code = 'NC'),
            count(*) filter (where sex_code = 'U'),
            count(*) filter (where residence_area = 'UNK')
        ])
    from {{ ref('fct_application_whole') }}
    where applied_month_end > (select a_year_before from latest)
    union all
    select
        'fct_application_stage',
        'dim_stage',
        count(*),
        count(*) filter (where stage_key like 'UNKNOWN:%')
    from {{ ref('fct_application_stage_whole') }}
    where event_on > (select a_year_before from latest)
    union all
    -- What has no row to stand on is left out of the fact, and counted here.
    select
        'fct_application_stage',
        'fct_application',
        count(*),
        count(*) filter (where application.application_id is null)
    from {{ ref('stg_recruitment__stage_event') }} as event
    left join {{ ref('fct_application_whole') }} as application on event.application_id = application.application_id
    where event.event_on > (select a_year_before from latest)
    union all
    select
        'fct_promotion_board',
        unnest(array['dim_date', 'dim_rank', 'dim_ethnicity', 'dim_sex']),
        count(*),
        unnest(array[
            count(*) filter (where board_month_end is null),
            count(*) filter (where rank_code in ('NONE', 'UNK')),
            count(*) filter (where ethnicity_code = 'NC'),
            count(*) filter (where sex_code = 'U')
        ])
    from {{ ref('fct_promotion_board_whole') }}
)

select
    counted.fact_name,
    counted.dimension_name,
    counted.fact_rows,
    counted.unknown_rows,
    coalesce({{ share('counted.unknown_rows', 'counted.fact_rows') }}, 0)::numeric(9, 6) as unknown_share,
    unknown_limit.share_limit::numeric(9, 6) as share_limit,
    case
        when
            counted.unknown_rows > unknown_limit.rows_allowed
            and counted.unknown_rows > unknown_limit.share_limit * counted.fact_rows
            then unknown_limit.on_breach
        else 'within'
    end as verdict_on_unknown
from counted
left join {{ ref('ref_unknown_limit') }} as unknown_limit
    on counted.fact_name = unknown_limit.fact_name and counted.dimension_name = unknown_limit.dimension_name
