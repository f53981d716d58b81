-- The months in which anything in force at the count date differs between the last switch and tonight.
{{ affected_months('fct_workforce_snapshot', workforce_rows(ref('int_month'), ref('int_changed_person'))) }}
