# syntax=docker/dockerfile:1
# Pin the base by digest where images are promoted: --build-arg BASE=python:3.13-slim-bookworm@sha256:…
ARG BASE=python:3.13-slim-bookworm

# Build: a virtual environment with exactly the locked packages, each checked by its hash.
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements requirements
RUN python -m venv /build \
 && /build/bin/python -m pip install --require-hashes -r requirements/build.txt -r requirements/sbom.txt \
 && python -m venv /opt/outward \
 && /opt/outward/bin/python -m pip install --require-hashes -r requirements/outward.txt -r requirements/postgres.txt -r requirements/otlp.txt
COPY pyproject.toml README.md LICENSE ./
COPY bin/sbom bin/
COPY addons addons
# The wheel is built with the locked tools and installed without them; pip itself does not go into the image that runs.
# Byte code is written here for good, and never compared with its source: where the image runs, nothing can be written.
RUN /build/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /dist . \
 && /opt/outward/bin/python -m pip install --no-deps --no-index --no-compile /dist/*.whl \
 && /opt/outward/bin/python -m pip uninstall --yes pip \
 && PATH=/build/bin:$PATH bin/sbom /opt/outward/sbom.cdx.json /opt/outward/bin/python \
 && /opt/outward/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/outward/lib

# Run: no compiler, no pip of ours, no shell on the way from start to stop. Works with a read-only root: what is written
# lies under /var/lib/outward, a volume.
FROM ${BASE}
ARG BASE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Outward" \
      org.opencontainers.image.description="A forward egress proxy for AI agents" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
# The base comes without byte code of the standard library: a start would compile what it imports, each time.
RUN groupadd --gid 10001 outward \
 && useradd --uid 10001 --gid outward --no-create-home --shell /usr/sbin/nologin outward \
 && install -d -o outward -g outward -m 0700 /var/lib/outward \
 && install -d /etc/outward \
 && python -m compileall -q -f --invalidation-mode unchecked-hash -x 'site-packages|idlelib|lib2to3|test' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/outward /opt/outward
ENV PATH=/opt/outward/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    OUTWARD_CONFIG=/etc/outward/outward.yaml HOME=/var/lib/outward
USER 10001:10001
VOLUME /var/lib/outward
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["outward", "health"]
ENTRYPOINT ["outward"]
CMD ["serve"]
