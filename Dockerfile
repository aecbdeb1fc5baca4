# syntax=docker/dockerfile:1
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The dependencies first: they change less often than the code.
COPY requirements/ requirements/
RUN python -m venv /opt/mcp-postgres \
 && /opt/mcp-postgres/bin/pip install --require-hashes --requirement requirements/serve.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY registry/ registry/
COPY projections/ projections/
COPY server/ server/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/mcp-postgres/bin/pip install --no-deps --no-index /tmp/wheel/*.whl

FROM python:3.13-slim-bookworm
# A fixed number, so that a volume keeps its owner and `runAsNonRoot` can be checked.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mcp \
 && install --directory --owner=mcp --mode=0700 /keys
COPY --from=build /opt/mcp-postgres /opt/mcp-postgres
ENV PATH=/opt/mcp-postgres/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MCP_POSTGRES_HOST=0.0.0.0 \
    MCP_POSTGRES_LOG_FORMAT=json
USER 10001
WORKDIR /keys
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8001/readyz', timeout=2)"]
ENTRYPOINT ["mcp-postgres"]
CMD ["serve"]
