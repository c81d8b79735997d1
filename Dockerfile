# syntax=docker/dockerfile:1
# The service with its model inside: nothing is fetched at run time.
FROM python:3.12-slim AS build
WORKDIR /src
# The CPU build of torch by default; for a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "${TORCH_INDEX}" torch
COPY pyproject.toml README.md LICENSE ./
COPY grader ./grader
COPY api ./api
COPY reference_answers ./reference_answers
RUN pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 grader
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH GRADER_HOST=0.0.0.0 GRADER_PORT=8000 OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
USER grader
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["grader", "serve"]
