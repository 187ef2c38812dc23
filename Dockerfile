# syntax=docker/dockerfile:1
#
#   docker build -t perennial .
#   docker run --network host --shm-size 1g -v perennial:/var/lib/perennial perennial
#
# Without keys the service answers on loopback only: hence the host's network. With keys in its home (`keys create`), publish a
# port instead and add `up --host 0.0.0.0`.
# The learner hands its parameters to the workers through shared memory: hence more of it than Docker's 64 MB.
# The image serves; it holds no torch, which only the batch job needs.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS builder
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/perennial
COPY requirements.lock ./
RUN /opt/perennial/bin/python -m pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY online ./online
COPY batch ./batch
COPY api ./api
COPY simulations ./simulations
RUN /opt/perennial/bin/python -m pip install --no-deps --no-build-isolation .
RUN /opt/perennial/bin/perennial --help > /dev/null

FROM python:${PYTHON} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="perennial" \
      org.opencontainers.image.description="Recommendations and fares that keep learning while they serve" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --create-home --home-dir /var/lib/perennial --shell /usr/sbin/nologin perennial
COPY --from=builder /opt/perennial /opt/perennial
# Kernels are compiled for the processor that runs them, once, into a folder that outlives the container.
ENV PATH=/opt/perennial/bin:${PATH} \
    PERENNIAL_HOME=/var/lib/perennial \
    NUMBA_CACHE_DIR=/var/lib/perennial/kernels \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/perennial
VOLUME /var/lib/perennial
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["perennial"]
CMD ["up", "--port", "8080"]
