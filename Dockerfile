# syntax=docker/dockerfile:1
# The operator, for both processes and for the Jobs of the chart: make image
#
# The base stands here by its version alone: no registry was at hand to read its digest from. `make
# image` asks for the digest of its index, one for both architectures, builds from that and writes it
# into a label; `make pin` puts it here.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY estimator estimator
COPY operator operator
COPY packaging packaging
RUN packaging/assemble /opt/energaizer

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="energaizer" \
      org.opencontainers.image.description="Power, energy and time of AI workloads on GPUs, before they run" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
COPY --from=build /opt/energaizer /opt/energaizer
ENV PATH=/opt/energaizer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["energaizer-operator"]
CMD ["--help"]
