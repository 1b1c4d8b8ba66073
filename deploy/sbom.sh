#!/usr/bin/env bash
# Writes the image's list of parts (CycloneDX 1.6, JSON) to the file that is named, or to standard output: what the
# Dockerfile installs into it by hash, its base image not included. The same locks give the same bytes.
set -euo pipefail
out=${1--}
[ "$out" = - ] || out=$(realpath "$out")
cd "$(dirname "$0")/.."
tools=.knts/sbom
lock=$(sha256sum requirements-sbom.txt | cut -c1-16)
if [ ! -e "$tools/$lock" ]; then
  rm -rf "$tools"
  mkdir -p .knts
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r requirements-sbom.txt >&2
  touch "$tools/$lock"
fi
parts=$(mktemp)
trap 'rm -f "$parts"' EXIT
{ cat requirements.txt; sed -n '/^django-htmx==/,/[^\\]$/p' requirements-nodeps.txt; } > "$parts"
"$tools/bin/cyclonedx-py" requirements --output-reproducible --spec-version 1.6 --output-format JSON -o "$out" "$parts"
