# The firewall's init container: nft and nothing that listens. Pin the base by digest where you promote images.
ARG BASE=debian:12-slim
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["/usr/sbin/nft", "-f"]
