# Peel's one image: Airflow's services, the tasks they run, and dbt in an environment of its own.
#
# The base is pinned by tag only: a digest could not be looked up where this was written. To pin it, give
# --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:<the digest you verified>.
# Behind a package mirror, give PIP_INDEX_URL and UV_DEFAULT_INDEX as build arguments; they stay in the first stage.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_NO_CACHE=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /opt/peel

# Both environments, from hashed locks, before anything that changes more often.
COPY requirements-uv.lock requirements.lock ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-uv.lock \
    && .venv/bin/uv pip sync --require-hashes --compile-bytecode requirements.lock
COPY dbt_project/requirements.lock dbt_project/
RUN python -m venv --without-pip dbt_project/.venv \
    && .venv/bin/uv pip sync --require-hashes --compile-bytecode --python dbt_project/.venv/bin/python \
        dbt_project/requirements.lock

COPY LICENSE pyproject.toml ./
COPY plugins/ plugins/
RUN .venv/bin/uv pip install --no-deps --no-build-isolation --offline --editable .
COPY dags/ dags/
COPY dbt_project/ dbt_project/
COPY expectations/ expectations/
COPY reference/ reference/
COPY docker/entrypoint.sh docker/healthcheck.py docker/
# An empty airflow.cfg, or Airflow writes one of its own: all configuration is in the environment.
RUN mkdir airflow && touch airflow/airflow.cfg \
    && python -m compileall -q plugins dags \
    && chmod -R go+rX,go-w .

FROM ${PYTHON_IMAGE}
# The folders that volumes are mounted on: a new volume takes its owner from here.
RUN groupadd --gid 10001 peel \
    && useradd --uid 10001 --gid peel --no-create-home --home-dir /tmp --shell /usr/sbin/nologin peel \
    && cd /var/lib && install -d -m 0700 -o peel -g peel \
        peel peel/dbt peel/drafts peel/landing peel/logs peel/published peel/sources
COPY --from=build /opt/peel /opt/peel
ENV PATH=/opt/peel/.venv/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/peel/airflow \
    PEEL_HOME=/opt/peel \
    PEEL_VAR=/var/lib/peel \
    GX_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
WORKDIR /opt/peel
USER 10001:10001
ENTRYPOINT ["sh", "/opt/peel/docker/entrypoint.sh"]
CMD ["peel", "--help"]
