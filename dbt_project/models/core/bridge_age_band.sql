-- Which band of each scheme a single year of age lies in: bands of different schemes are cut at different ages.
select
    age_band.scheme,
    age.age::integer as age,
    age_band.age_band_code
from {{ ref('ref_age_band') }} as age_band
inner join generate_series(0, 150) as age (age) on age.age between age_band.from_age and age_band.to_age
