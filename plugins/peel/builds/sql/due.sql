-- The build that is due, if any: one row, or none.
--
-- A business date can be built when something was applied on it, every nightly feed has an applied
-- delivery of it or is overdue, and nothing delivered up to it is still on its way to history. One
-- build takes everything up to the newest such date. It is due when its ordered list of deliveries,
-- the decisions or the checksum of models, seeds and contracts differ from those of the last switch.
-- Nothing is due while a person holds readers at an earlier night.
--
-- Parameters: now timestamptz; checksum text; feeds text[], cadences text[], due_times text[] (of the
-- feeds, in one order; an empty due time for none); arriving text[] (feeds with a delivery at the
-- source that is not landed yet).
with
asked as (
    select
        cast(%(now)s as timestamptz) as at_time,
        cast(%(checksum)s as text) as checksum,
        cast(%(arriving)s as text[]) as arriving
),

feed as (
    select
        feed_name,
        cadence,
        nullif(due_time, '')::time as due_time
    from
        unnest(cast(%(feeds)s as text[]), cast(%(cadences)s as text[]), cast(%(due_times)s as text[]))
            as f (feed_name, cadence, due_time)
),

candidate as (
    select distinct apply_date as business_date
    from audit.applied
),

buildable as (
    select candidate.business_date
    from candidate
    where
        not exists (
            select 1
            from feed
            where
                feed.cadence = 'nightly'
                and not exists (
                    select 1
                    from audit.delivery as d
                    where
                        d.feed = feed.feed_name
                        and d.business_date = candidate.business_date
                        and d.state = 'applied'
                )
                and (
                    (select at_time from asked)
                    < ((candidate.business_date + 1 + feed.due_time) at time zone 'Europe/London')
                    or feed.feed_name in (select unnest(arriving) from asked)
                )
        )
        and not exists (
            select 1
            from audit.delivery as d
            where
                d.business_date <= candidate.business_date
                and d.state in ('landed', 'gated')
        )
),

-- A change of the landing key alone is on record without a feed: nothing in the warehouse changes by it.
decision as (
    select decision_id
    from audit.decision
    where feed is not null or kind <> 'rotate'
),

newest as (
    select max(business_date) as business_date
    from buildable
),

contents as (
    select
        newest.business_date,
        (
            select array_agg(d.feed || ':' || d.delivery_id order by d.feed collate "C", listed.first_position)
            from (
                select
                    delivery_id,
                    min(position) as first_position
                from audit.applied
                where apply_date <= newest.business_date
                group by delivery_id
            ) as listed
            inner join audit.delivery as d on listed.delivery_id = d.delivery_id
        ) as deliveries,
        (select coalesce(array_agg(decision_id order by decision_id), '{}') from decision) as decisions
    from newest
    where newest.business_date is not null
),

-- What history up to a night consists of, in one number: the ordered lists its tables are folds of, when they were
-- folded last (another release's gate may make another history of the same deliveries), and whatever writes it anew.
-- One statement tells it of tonight and of the last switched night, so that nothing comes between.
night as (
    select business_date from contents
    union
    select business_date from audit.switched_build
),

made_of as (
    select
        night.business_date,
        md5(concat_ws(
            '|',
            (
                select
                    concat_ws(
                        '|',
                        string_agg(
                            concat_ws(',', table_name, position, apply_date, delivery_id, content), ';'
                            order by table_name collate "C", position
                        ),
                        max(applied_at)
                    )
                from audit.applied
                where apply_date <= night.business_date
            ),
            (select max(decision_id) from decision),
            (select concat_ws(',', count(*), max(finished_at)) from audit.erasure),
            (select count(*) from audit.key_epoch)
        )) as history_digest
    from night
)

select
    contents.business_date,
    contents.deliveries,
    contents.decisions,
    switched.build_id as last_build_id,
    switched.business_date as last_business_date,
    coalesce(switched.checksum, '') <> asked.checksum as rebuild_all,
    made_of.history_digest,
    coalesce(
        switched.checksum = asked.checksum
        and switched.business_date <= contents.business_date
        -- Once a month everything is looked at all the same.
        and date_trunc('month', switched.business_date) = date_trunc('month', contents.business_date)
        and switched.history_digest = was_made_of.history_digest,
        false
    ) as history_stands
from contents
cross join asked
inner join made_of on contents.business_date = made_of.business_date
left join audit.switched_build as switched on true
left join made_of as was_made_of on switched.business_date = was_made_of.business_date
where
    (
        coalesce(switched.deliveries, '{}') <> contents.deliveries
        or coalesce(switched.decisions, '{}') <> contents.decisions
        or coalesce(switched.checksum, '') <> asked.checksum
    )
    and not exists (
        select 1
        from audit.hold as h
        where h.lifted_at is null
    )
    -- Readers are not taken back to an older night while a replay has newer ones on their way.
    and not exists (
        select 1
        from audit.delivery as d
        where
            contents.business_date < switched.business_date
            and d.business_date <= switched.business_date
            and d.state in ('landed', 'gated')
    )
