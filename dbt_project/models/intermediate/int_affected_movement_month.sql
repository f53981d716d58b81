-- The months whose movements differ between the last switch and tonight.
{{ affected_months('fct_workforce_movement', movement_rows(ref('int_month'), ref('int_changed_person'))) }}
