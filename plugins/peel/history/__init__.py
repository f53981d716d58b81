"""History: every version of every accepted row, as the fold of an ordered list of deliveries."""
