{{ workforce_counts(ref('fct_workforce_snapshot')) }}
