select * from {{ ref('unknown_member_share') }}
