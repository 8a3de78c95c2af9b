# A server of prompts, see docs/serving.md. Build it in this folder:
#   docker build -t mpt-serve .
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
COPY requirements /requirements
# Give --build-arg JAX="jax[tpu]" on a TPU VM, or "jax[cuda13]" for a GPU.
ARG JAX=jax
RUN pip install --no-cache-dir "$JAX" -r /requirements/light.txt \
  && pip install --no-cache-dir --no-deps /wheels/*.whl \
  && useradd --create-home mpt
USER mpt
WORKDIR /home/mpt
# Compiled programs stay here; mount a volume to keep them.
ENV JAX_COMPILATION_CACHE_DIR=/home/mpt/.cache/jax
EXPOSE 8000
# A container listens to others: give MPT_API_KEY, or --no-api-key.
ENTRYPOINT ["mpt", "serve", "--host", "0.0.0.0"]
