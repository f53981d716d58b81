select * from {{ ref('applicant_route_month') }}
