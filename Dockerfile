# One image for every command: worker, router, replay, `driftline topics create`.
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY detectors detectors
COPY streams streams
RUN python -m venv /opt/driftline && /opt/driftline/bin/pip install --no-cache-dir .

FROM python:3.12.8-slim-bookworm
# A number, so that Kubernetes can verify runAsNonRoot without looking into the image.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin driftline
COPY --from=build /opt/driftline /opt/driftline
ENV PATH=/opt/driftline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/home/driftline/.numba
USER 10001
WORKDIR /etc/driftline
EXPOSE 9108
# Compiling the inner loops takes its time at the first start, hence the long start period.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9108/healthz', timeout=2)"]
# SIGTERM lets the worker commit what it has and leave its group.
STOPSIGNAL SIGTERM
ENTRYPOINT ["driftline"]
CMD ["run", "--config", "/etc/driftline/monitor.yaml"]
