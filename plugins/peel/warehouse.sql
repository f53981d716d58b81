-- Roles' rights, schemas and audit tables. Run at every start; every statement may be repeated.
-- Who may do what, in one place; each right is tried from the other side in tests/privacy.

revoke all on schema public from public;

create schema if not exists audit;
create schema if not exists delivery;
create schema if not exists quarantine;
create schema if not exists history;
create schema if not exists sensitive;
create schema if not exists keyless;
create schema if not exists core;
create schema if not exists mart;
create schema if not exists undo;
create schema if not exists past;

grant usage, create on schema delivery, quarantine, history, sensitive to peel_ingest;
grant usage on schema delivery, sensitive to peel_gate;
grant usage on schema quarantine to peel_gate;
grant usage on schema history, sensitive, keyless to peel_transform;
grant usage, create on schema core, mart, undo, past to peel_transform;
grant usage on schema core to peel_analyst;
grant usage on schema mart to peel_bi, peel_publish, peel_analyst;
grant usage on schema audit to peel_ingest, peel_gate, peel_transform, peel_publish;

-- dbt drops and makes schema next every night, so peel_transform owns it and may create schemas.
do $$ begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant create on database %I to peel_transform', current_database());
    execute format(
        'grant connect, temporary on database %I to peel_ingest, peel_gate, peel_transform', current_database()
    );
    execute format('grant connect on database %I to peel_publish, peel_analyst, peel_bi', current_database());
end $$;

-- The gate reads what ingest lands and writes what it holds back; nobody else sees raw text.
alter default privileges for role peel_ingest in schema delivery grant select on tables to peel_gate;

comment on schema audit is 'What came, what was decided about it and what was built from it; never a value';
comment on schema delivery is 'One all-text table for each delivery of each contract, as landed';
comment on schema quarantine is 'Rows held back by a row rule, with the rule and the delivery';
comment on schema history is 'Every version of every accepted row, with the business dates it was known from and to';
comment on schema sensitive is 'Delivery, quarantine and history of tables with special category data';
comment on schema keyless is 'What published totals still count of people who were erased, under no key of theirs';
comment on schema core is 'The star as last switched: unit rows under person keys';
comment on schema undo is 'Rows of core that the last switches replaced, so that they can be taken back; nobody reads them';
comment on schema past is 'What readers saw of aggregates at earlier switches; counts, no unit rows';
comment on schema mart is 'What BI tools and readers use: aggregates and indicators';

create table if not exists audit.delivery (
    delivery_id text primary key check (delivery_id ~ '^[0-9a-f]{12}$'),
    feed text not null,
    business_date date not null,
    seq integer not null,
    source_sha256 text not null,
    landed_sha256 text,
    mode text not null,
    watermark_from text,
    watermark_to text,
    extract_ts timestamptz,
    schema_version text,
    source_kind text not null check (source_kind in ('simulated', 'real')),
    rows bigint not null default 0,
    state text not null
    check (state in ('landed', 'gated', 'applied', 'replaced', 'waiting', 'refused')),
    reason text,
    landed_at timestamptz not null default clock_timestamp(),
    unique (feed, business_date, seq, source_sha256)
);
comment on table audit.delivery is 'Each row is a delivery: what one feed brought for one business date';

create table if not exists audit.delivery_table (
    delivery_id text not null references audit.delivery,
    table_name text not null,
    file text not null,
    source_sha256 text not null,
    landed_sha256 text not null,
    rows bigint not null,
    contract_version text not null,
    contract_checksum text not null,
    accepted bigint,
    quarantined bigint,
    refused_by text[],
    key_unreadable bigint,
    land_epoch integer not null default 1,
    gate_input text,
    primary key (delivery_id, table_name)
);
comment on table audit.delivery_table is 'Each row is one table of a delivery, with what its gate counted';

create table if not exists audit.gate_result (
    delivery_id text not null references audit.delivery,
    table_name text not null,
    column_name text not null default '',
    rule text not null,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    on_failure text not null check (on_failure in ('refuse', 'quarantine', 'warn')),
    outcome text not null check (outcome in ('passed', 'failed', 'not evaluated')),
    checked bigint,
    failed bigint,
    evaluated_at timestamptz not null default clock_timestamp(),
    primary key (delivery_id, table_name, column_name, rule)
);
comment on table audit.gate_result is 'Each row is one rule''s outcome on one table of a delivery; counts only';

create table if not exists audit.decision (
    decision_id bigint generated always as identity primary key,
    kind text not null
    check (kind in ('accept', 'bridge', 'readmit', 'discard', 'map', 'erase', 'rotate')),
    feed text,
    source_sha256 text,
    table_name text,
    row_key text,
    row_number bigint,
    column_name text,
    value_from text,
    value_to text,
    watermark_from text,
    watermark_to text,
    who text not null,
    reason text not null check (length(reason) > 0),
    decided_at timestamptz not null default clock_timestamp()
);
comment on table audit.decision is 'Each row is a person''s decision, an input of every replay';

create table if not exists audit.unusable_folder (
    feed text not null,
    path text not null,
    reason text not null,
    seen_at timestamptz not null default clock_timestamp(),
    primary key (feed, path)
);
comment on table audit.unusable_folder is 'Each row is a source folder that cannot be landed as it is: no date or number, a day to come, no manifest';

create table if not exists audit.key_epoch (
    key_name text not null check (key_name in ('land', 'warehouse')),
    epoch integer not null,
    fingerprint text not null,
    first_used_at timestamptz not null default clock_timestamp(),
    primary key (key_name, epoch)
);
comment on table audit.key_epoch is 'Each row is a key''s epoch with a fingerprint that tells keys apart and gives nothing away';

create table if not exists audit.baseline (
    feed text primary key,
    business_date date not null,
    set_at timestamptz not null default clock_timestamp()
);
comment on table audit.baseline is 'Each row is a feed''s business date to which history stands without the landed deliveries it came from';

create table if not exists audit.erasure (
    request_id bigint generated always as identity primary key,
    kind text not null check (kind in ('erasure', 'objection')),
    who text not null,
    reason text not null check (length(reason) > 0),
    requested_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
comment on table audit.erasure is 'Each row is a person''s request to be erased, or their objection; it does not say who they were';

create table if not exists sensitive.crosswalk (
    token text primary key,
    first_token text not null
);
comment on table sensitive.crosswalk is 'Each row is a landing token of a later key epoch, and the first one the same person was known by';

create table if not exists audit.tombstone (
    identifier_kind text not null,
    stone text not null,
    request_id bigint not null references audit.erasure,
    land_epoch integer not null,
    primary key (identifier_kind, stone, request_id)
);
comment on table audit.tombstone is 'Each row is a keyed hash by which landing knows a row it must not take in';

create table if not exists audit.redaction (
    redaction_id bigint generated always as identity primary key,
    request_id bigint not null references audit.erasure,
    delivery_id text not null references audit.delivery,
    table_name text not null,
    old_sha256 text not null,
    new_sha256 text not null,
    rows_removed bigint not null,
    redacted_at timestamptz not null default clock_timestamp()
);
comment on table audit.redaction is 'Each row is a landed table that was written anew without a person''s rows';

create table if not exists keyless.fact_row (
    row_id uuid primary key default gen_random_uuid(),
    fact text not null,
    month_end date not null,
    attributes jsonb not null,
    request_id bigint
);
comment on table keyless.fact_row is
'Each row is a row of a fact in a closed month, of somebody erased, under no key of theirs';
comment on column keyless.fact_row.row_id is
'Made at random: what the star has instead of the key of a person, event or application';
comment on column keyless.fact_row.fact is 'The fact the row belongs to';
comment on column keyless.fact_row.month_end is 'Last day of the month it is counted in';
comment on column keyless.fact_row.attributes is 'What published totals need of it, by column, and nothing else';
comment on column keyless.fact_row.request_id is
'The request it was made for, until that is known to be committed; empty from then on, so that rows do not join';

create table if not exists audit.look_back (
    table_name text not null,
    rule text not null,
    gate_input text not null,
    previous_input text not null,
    number double precision,
    primary key (table_name, rule, gate_input, previous_input)
);
comment on table audit.look_back is 'Each row is what a rule that looks back found between two deliveries of a table';

create table if not exists audit.replay (
    replay_id bigint generated always as identity primary key,
    feed text not null,
    business_date date not null,
    before jsonb not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
comment on table audit.replay is 'Each row is a replay of a feed from a date, with the states its deliveries had before';

create table if not exists audit.look (
    look_id bigint generated always as identity primary key,
    who text not null check (length(who) > 0),
    at timestamptz not null default clock_timestamp(),
    table_name text not null,
    delivery_id text not null references audit.delivery,
    rows bigint not null
);
comment on table audit.look is 'Each row is a person''s look at the values of quarantined rows';

create table if not exists audit.probe (
    feed text primary key,
    outcome text not null check (outcome in ('unchanged')),
    probed_at timestamptz not null default clock_timestamp()
);
comment on table audit.probe is 'Each row is a feed''s last look at a source that had nothing new';

create table if not exists audit.applied (
    table_name text not null,
    position integer not null,
    apply_date date not null,
    delivery_id text not null references audit.delivery,
    content text not null default '',
    applied_at timestamptz not null default clock_timestamp(),
    primary key (table_name, position)
);
comment on table audit.applied is 'Each row is one delivery in the ordered list a history table is the fold of';

create table if not exists audit.source_folder (
    feed text not null,
    path text not null,
    fingerprint text not null,
    delivery_id text not null,
    primary key (feed, path)
);
comment on table audit.source_folder is 'Each row is a source folder already looked at, so that an unchanged one costs nothing';

create table if not exists audit.build (
    build_id text primary key,
    business_date date not null,
    deliveries text[] not null,
    decisions bigint[] not null,
    checksum text not null,
    months date[],
    state text not null check (state in ('building', 'built', 'gated', 'switched', 'failed')),
    reason text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
comment on table audit.build is 'Each row is one run of dbt over an exact list of deliveries and decisions';
alter table audit.build add column if not exists history_digest text;
comment on column audit.build.history_digest is 'What history up to the business date consisted of, in one number';

create table if not exists audit.build_gate_result (
    build_id text not null references audit.build,
    table_name text not null,
    column_name text not null default '',
    rule text not null,
    severity text not null,
    outcome text not null check (outcome in ('passed', 'failed', 'not evaluated')),
    checked bigint,
    failed bigint,
    primary key (build_id, table_name, column_name, rule)
);
comment on table audit.build_gate_result is 'Each row is one rule''s outcome on one table of a build';

create table if not exists audit.switch (
    switch_id bigint generated always as identity primary key,
    build_id text not null references audit.build,
    switched_at timestamptz not null default clock_timestamp(),
    rows jsonb not null
);
comment on table audit.switch is 'Each row is the transaction by which a build became what readers see';

create or replace view audit.switched_build as
select b.*
from audit.build as b
where b.build_id = (select s.build_id from audit.switch as s order by s.switch_id desc limit 1);
comment on view audit.switched_build is 'The one row is the build that readers see';

create table if not exists audit.hold (
    hold_id bigint generated always as identity primary key,
    who text not null,
    reason text not null check (length(reason) > 0),
    set_at timestamptz not null default clock_timestamp(),
    lifted_by text,
    lifted_because text,
    lifted_at timestamptz
);
comment on table audit.hold is 'Each row is a time in which nothing is built, because a person took readers back';

create table if not exists audit.restatement (
    switch_id bigint not null references audit.switch,
    table_name text not null,
    cell jsonb not null,
    measure text not null,
    before numeric not null,
    after numeric not null,
    primary key (switch_id, table_name, cell, measure)
);
comment on table audit.restatement is 'Each row is a figure of a closed period that a switch changed';

create table if not exists audit.analyst (
    grant_id bigint generated always as identity primary key,
    login text not null,
    approver text not null check (length(approver) > 0),
    granted_at timestamptz not null default clock_timestamp(),
    valid_until date not null,
    ended_at timestamptz,
    ended_by text
);
create unique index if not exists analyst_standing on audit.analyst (login) where ended_at is null;
comment on table audit.analyst is
'Each row is a person''s leave to read core under a login of their own: who approved it, until when, and when it was ended or renewed';

create table if not exists audit.past (
    table_name text primary key,
    kept_from bigint not null references audit.switch,
    made_by bigint not null references audit.switch
);
comment on table audit.past is
'Each row is an aggregate of which schema past keeps what readers saw: since which switch, and by which it was made last';

create table if not exists audit.release (
    release_id text primary key,
    build_id text not null references audit.build,
    kind text not null check (kind in ('draft', 'release')),
    path text not null,
    made_at timestamptz not null default clock_timestamp(),
    manifest jsonb not null
);
comment on table audit.release is 'Each row is a set of files made from one build for readers';

-- A delivery that was refused while landing left nothing anywhere but its refusal. For it to be landed again
-- under the present contracts, ingest may take that refusal off the ledger; it may delete no other delivery.
create or replace function audit.forget_never_landed(asked text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from audit.delivery as d where d.delivery_id = asked and d.state = 'refused')
        or exists (select from audit.delivery_table as t where t.delivery_id = asked)
    then
        return false;
    end if;
    delete from audit.gate_result where delivery_id = asked;
    delete from audit.source_folder where delivery_id = asked;
    delete from audit.delivery where delivery_id = asked;
    return true;
end $$;
revoke all on function audit.forget_never_landed(text) from public;
grant execute on function audit.forget_never_landed(text) to peel_ingest;

-- A statement of an analyst that finds a row in a table of core asks this once, as a policy of the table, and leaves
-- a line in the server's log: who and what, never the statement, whatever the server logs otherwise. It is called
-- with objects, not text: nobody writes anything else into the log by it, nor, without the right to make code, a line
-- of another person's.
create or replace function core.read_is_logged(what regclass) returns boolean
language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
begin
    raise log 'peel core read: role=% table=%', session_user, what;
    return true;
end $$;
comment on function core.read_is_logged(regclass) is 'Leaves a line in the server''s log that a table is read; always true';
create or replace function core.read_is_logged(what regprocedure) returns boolean
language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
begin
    raise log 'peel core read: role=% table=%', session_user, split_part(what::text, '(', 1);
    return true;
end $$;
comment on function core.read_is_logged(regprocedure) is 'The same for a function that reads history; always true';
revoke all on function core.read_is_logged(regclass), core.read_is_logged(regprocedure) from public;
grant execute on function core.read_is_logged(regclass) to peel_analyst, peel_transform;
grant execute on function core.read_is_logged(regprocedure) to peel_transform;
do $$ begin
    alter function core.read_is_logged(regclass) set log_min_error_statement = 'panic';
    alter function core.read_is_logged(regclass) set log_error_verbosity = 'terse';
    alter function core.read_is_logged(regprocedure) set log_min_error_statement = 'panic';
    alter function core.read_is_logged(regprocedure) set log_error_verbosity = 'terse';
    revoke usage on language plpgsql from public;
    grant usage on language plpgsql to peel_transform;
exception when insufficient_privilege then
    null;  -- a server of which the owner is no superuser: docs/analysts.md says what to ask of its administrator
end $$;

-- What later versions added.
alter table audit.delivery_table
add column if not exists land_epoch integer not null default 1,
add column if not exists gate_input text;
alter table audit.decision
add column if not exists table_name text,
add column if not exists row_number bigint,
add column if not exists column_name text,
add column if not exists value_from text,
add column if not exists value_to text;
alter table audit.applied
add column if not exists content text not null default '',
add column if not exists applied_at timestamptz not null default clock_timestamp();
alter table audit.switch
add column if not exists undo jsonb,
add column if not exists because jsonb not null default '{}',
add column if not exists undoes bigint references audit.switch,
add column if not exists who text;

grant select on all tables in schema audit to peel_ingest, peel_gate, peel_transform, peel_publish;
grant select, insert, delete on keyless.fact_row to peel_transform;
grant update (request_id) on keyless.fact_row to peel_transform;
grant insert, update, references on audit.delivery, audit.delivery_table to peel_ingest;
grant insert, update, delete
on audit.applied, audit.source_folder, audit.unusable_folder, audit.baseline, audit.probe, audit.look_back
to peel_ingest;
grant insert on audit.key_epoch, audit.decision, audit.look, audit.tombstone, audit.redaction to peel_ingest;
grant insert, update on audit.replay, audit.erasure to peel_ingest;
grant select, insert, delete on sensitive.crosswalk to peel_ingest;
grant insert, update, delete on audit.gate_result to peel_gate, peel_ingest;
grant update (state, reason) on audit.delivery to peel_gate;
grant update (accepted, quarantined, refused_by, key_unreadable, gate_input, contract_version, contract_checksum)
on audit.delivery_table to peel_gate;
grant insert, update, delete on audit.build_gate_result to peel_transform;
grant insert, update on audit.build to peel_transform;
grant insert, update (rows, undo) on audit.switch to peel_transform;
grant insert, update on audit.hold to peel_transform;
grant insert on audit.restatement to peel_transform;
grant insert, update, delete on audit.past to peel_transform;
grant insert, update on audit.release to peel_publish;
