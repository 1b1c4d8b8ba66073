# One image holds all functions; a Knative Service picks one by FUNCTION_TARGET.
#
# The base is pinned by the digest of its index, python:3.11.16-slim-bookworm as published in September 2026. A newer one:
#   docker buildx imagetools inspect python:3.11-slim-bookworm --format '{{.Manifest.Digest}}'
# What is put into it is pinned by hash (requirements*.txt), so that the same commit gives the same packages.
ARG PYTHON=docker.io/library/python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON} AS packages

WORKDIR /build
COPY requirements.txt requirements-nodeps.txt ./
# The page's htmx comes from a wheel taken for its files, so without what it depends on; the other two packages of
# that lock are the local run's model and are left out. pip itself stays here: the image needs none.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes --only-binary :all: --no-deps \
         -r requirements.txt \
    && sed -n '/^django-htmx==/,/[^\\]$/p' requirements-nodeps.txt > htmx.txt \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes --only-binary :all: --no-deps \
         -r htmx.txt

FROM ${PYTHON}

WORKDIR /app
COPY --from=packages /venv /venv
COPY schemas schemas
COPY knts knts
COPY functions functions
# The file system is read-only when it runs, so what Python would compile at its first import is compiled here. By hash
# and not by time: the same files give the same bytes.
RUN python -m compileall -q --invalidation-mode unchecked-hash /venv/lib /app

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OTEL_SEMCONV_STABILITY_OPT_IN=http,database
USER 65532:65532
EXPOSE 8080
CMD ["python", "-m", "knts.serve"]
