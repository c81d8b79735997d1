# syntax=docker/dockerfile:1
# The service with its model inside: nothing is fetched at run time.
#   docker build -t answer-grader .
#   docker build -t answer-grader:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
# Which build of torch: for the CPU by default, for a GPU the index of its CUDA version.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras of the package; [postgres,tracing] for traces as well.
ARG EXTRAS="[postgres]"
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# torch comes first and by itself: it is most of the image and changes least.
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "${TORCH_INDEX}" torch
COPY pyproject.toml README.md LICENSE ./
COPY grader ./grader
COPY api ./api
COPY reference_answers ./reference_answers
RUN pip install --constraint constraints.txt ".${EXTRAS}"
# The vectors of the bank, so that the service is ready seconds after it starts, also with a read-only file system.
# hadolint ignore=DL3059
RUN OMP_WAIT_POLICY=passive python -c \
    "from pathlib import Path; from grader import Grader; Grader.load(device='cpu', cache_folder=Path('/opt/embeddings')).warm()"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="answer-grader" \
      org.opencontainers.image.description="Grades free-text answers offline, with the words behind every point" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 10001 grader && install --directory --owner=grader --group=grader /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=grader:grader /opt/embeddings /opt/embeddings
ENV PATH=/opt/venv/bin:$PATH \
    GRADER_HOST=0.0.0.0 \
    GRADER_PORT=8000 \
    GRADER_DATABASE=sqlite:////data/grades.db \
    GRADER_CACHE_FOLDER=/opt/embeddings \
    GRADER_LOG_FORMAT=json \
    HF_HUB_OFFLINE=1 \
    OMP_WAIT_POLICY=passive \
    PYTHONUNBUFFERED=1
# By number: Kubernetes' runAsNonRoot cannot tell what a name is.
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=90s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["grader", "serve"]
