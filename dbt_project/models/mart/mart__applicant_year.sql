select * from {{ ref('applicant_year') }}
