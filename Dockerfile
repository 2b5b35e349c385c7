# syntax=docker/dockerfile:1
# Pin the base by digest where images are promoted: --build-arg BASE=python:3.13-slim-bookworm@sha256:…
ARG BASE=python:3.13-slim-bookworm

# Build: a virtual environment with exactly the locked packages, each checked by its hash.
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements-build.txt requirements.txt ./
RUN python -m venv /build \
 && /build/bin/python -m pip install --require-hashes -r requirements-build.txt \
 && python -m venv /opt/outward \
 && /opt/outward/bin/python -m pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY addons addons
# The wheel is built with the locked tools and installed without them; pip itself does not go into the image that runs.
RUN /build/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /dist . \
 && /opt/outward/bin/python -m pip install --no-deps --no-index /dist/*.whl \
 && /opt/outward/bin/python -m compileall -q /opt/outward/lib \
 && /opt/outward/bin/python -m pip uninstall --yes pip

# Run: no compiler, no pip, no shell on the way from start to stop. Works with a read-only root: what is written lies
# under /var/lib/outward, a volume.
FROM ${BASE}
RUN groupadd --gid 10001 outward \
 && useradd --uid 10001 --gid outward --no-create-home --shell /usr/sbin/nologin outward \
 && install -d -o outward -g outward -m 0700 /var/lib/outward \
 && install -d /etc/outward
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
