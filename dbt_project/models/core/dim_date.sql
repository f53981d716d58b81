-- From the first census Peel knows to the end of the financial year after the business date's.
select
    day::date as date_day,
    (date_trunc('month', day) + interval '1 month' - interval '1 day')::date as month_end,
    extract(year from day)::integer as calendar_year,
    extract(quarter from day)::integer as calendar_quarter,
    extract(month from day)::integer as calendar_month,
    {{ financial_year('day') }} as financial_year,
    extract(isodow from day)::integer as iso_weekday
from generate_series(
    timestamp '2011-01-01',
    date_trunc('year', {{ business_date() }}::timestamp) + interval '2 years 3 months' - interval '1 day',
    interval '1 day'
) as day
