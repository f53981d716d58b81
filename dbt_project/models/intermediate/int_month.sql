-- Each row is a month of the force's history. The open month is keyed by its last day and counted as
-- at the business date; ages are as at the month's first day.
select
    month_start::date as month_start,
    (month_start + interval '1 month' - interval '1 day')::date as month_end,
    least((month_start + interval '1 month' - interval '1 day')::date, {{ business_date() }}) as counted_on
from generate_series(
    timestamp '2012-04-01', date_trunc('month', {{ business_date() }}::timestamp), interval '1 month'
) as month_start
