{% for indicator in [
    'k01_ethnic_minority_share_of_officers', 'k02_five_group_shares_of_officers', 'k03_representation_ratio',
    'k05_women_share_of_officers', 'k07_applicant_diversity', 'k08_recruit_diversity'
] -%}
    select * from {{ ref(indicator) }}
    {{ 'union all' if not loop.last }}
{% endfor %}
