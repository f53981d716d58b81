"""The services of one machine: PostgreSQL and Airflow under ``var/``, and a night run through them.

A team deployment has its own PostgreSQL and its own Airflow and uses nothing in here.
"""
