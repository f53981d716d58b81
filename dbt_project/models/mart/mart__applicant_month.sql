select * from {{ ref('applicant_month') }}
