#!/usr/bin/env bash
# Makes what overlays/local needs as Secrets, once, in a folder that git ignores: random keys, and one bearer key.
set -euo pipefail
cd "$(dirname "$0")/overlays/local"
umask 077
if [ ! -e .secrets/keys.yaml ]; then
  mkdir -p .secrets
  random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
  for name in KNTS_SIGNING_KEY KNTS_OPERATOR_KEY TYPESENSE_API_KEY REDIS_PASSWORD REDIS_CACHE_PASSWORD; do
    echo "$name=$(random)"
  done > .secrets/kn-ts.env
  random > .secrets/key.txt
  printf -- '- {sha256: %s, tenant: local, groups: [], name: local}\n' "$( (sha256sum 2>/dev/null || shasum -a 256) < .secrets/key.txt | cut -d' ' -f1)" > .secrets/keys.yaml
fi
echo "Secrets of the local overlay: deploy/overlays/local/.secrets; the bearer key is in key.txt there." >&2
