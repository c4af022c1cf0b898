#!/bin/sh
# Writes deploy/requirements/*.txt: what the images install, every version and file by hash. Needs uv.
# Run it to take newer versions, then look at the difference and test the images.
set -eu
cd "$(dirname "$0")/.."

pin() { # FILE EXTRA...
    file=deploy/requirements/$1.txt
    shift
    extras=$(printf -- ' --extra %s' "$@")
    # shellcheck disable=SC2086
    uv pip compile pyproject.toml $extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --upgrade --quiet --output-file "$file"
    echo "$file: $(grep -c == "$file") packages"
}

pin base factcheck-stages console s3
pin worker-cpu llamacpp
pin assertions assertions factcheck-stages
pin model gemma
