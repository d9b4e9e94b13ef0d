# The lab's two images, from one base: what the servers and clients need is Python's standard
# library; the sidecar that degrades the network adds tc and nft.
#
# BASE_IMAGE is set by "make up" where no image registry can be reached (lab/base_image.py).
# SOURCE_HASH lets "make up" see whether an image is made from the files that stand here.
ARG BASE_IMAGE=debian:trixie-slim

FROM ${BASE_IMAGE} AS python
# The distribution's own Python; versions are the Debian release's, on purpose.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
ENV PYTHONUNBUFFERED=1
WORKDIR /lab

FROM python AS lab
COPY services services
COPY clients clients
# A checkout under umask 077 is for its owner's eyes alone; the servers are somebody else.
RUN chmod -R a+rX . && python3 -m compileall -q services clients
ARG SOURCE_HASH=
LABEL progres-lab.source=${SOURCE_HASH}
USER 65534:65534

FROM python AS netem
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends iproute2 nftables \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY services services
RUN python3 -m compileall -q services
ARG SOURCE_HASH=
LABEL progres-lab.source=${SOURCE_HASH}
# Root, because the engine grants added capabilities to root alone; NET_ADMIN is its only one.
# hadolint ignore=DL3002
USER 0:0
