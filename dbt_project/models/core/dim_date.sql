-- From before anybody who serves now joined to the end of the financial year after the business date's.
select
    day::date as date_day,
    date_trunc('month', day)::date as month_start,
    (date_trunc('month', day) + interval '1 month' - interval '1 day')::date as month_end,
    day = date_trunc('month', day) + interval '1 month' - interval '1 day' as is_month_end,
    extract(year from day)::integer as calendar_year,
    extract(quarter from day)::integer as calendar_quarter,
    extract(month from day)::integer as calendar_month,
    {{ financial_year('day') }} as financial_year,
    -- April to June is the first quarter of a financial year.
    extract(quarter from day - interval '3 months')::integer as financial_quarter,
    -- The quarters and years that figures are stated and released for; the month is `month_end`.
    (date_trunc('quarter', day) + interval '3 months' - interval '1 day')::date as quarter_end,
    (date_trunc('year', day - interval '3 months') + interval '15 months' - interval '1 day')::date
        as financial_year_end,
    extract(isodow from day)::integer as iso_weekday
from generate_series(
    timestamp '1970-01-01',
    date_trunc('year', {{ business_date() }}::timestamp) + interval '2 years 3 months' - interval '1 day',
    interval '1 day'
) as day
