#!/bin/sh
# Every container of Peel's image starts here: weak secrets are refused, Airflow's password file is written
# to memory, then the service takes this process's place.
set -eu
umask 077
python -m peel.deployment start
unset PEEL_SECRET_AIRFLOW_ADMIN
: > /tmp/started # docker/healthcheck.py: a sign of life from before this is an earlier container's
exec "$@"
