"""Builds: what is due, the run of dbt over it, its gate, and the switch by which readers see it."""
