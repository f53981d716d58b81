-- Whether what stands in the warehouse of each feed is simulated; it comes from the contracts.
select
    feed,
    case when bool_or(source_kind = 'simulated') then 'simulated' else 'real' end as source_kind
from {{ source('audit', 'delivery') }}
where
    state = 'applied'
    and business_date <= {{ business_date() }}
group by feed
