#!/usr/bin/env bash
# Makes .venv and installs the hash-pinned requirements: `bootstrap.sh run`, `dev` or `load`.
# Needs python3 (3.11 or newer) with its venv module, nothing else. Safe to interrupt: a marker with the locks'
# digest is written last, and without it the next run takes the installation up again.
set -euo pipefail
cd "$(dirname "$0")/../.."

what=${1:-run}
free_mb_needed=2200 # 0.9 GB of packages, 0.4 GB of downloads, 0.4 GB for Typesense's binary, and room to work

die() {
    printf '\nkn-ts: %s\n' "$*" >&2
    exit 1
}

case $what in
run) locks=(requirements-local.txt requirements-nodeps.txt) ;;
dev) locks=(requirements-dev.txt requirements-nodeps.txt) ;;
load) locks=(requirements-load.txt requirements-nodeps.txt) ;;
*) die "unknown set of requirements '$what'; use run, dev or load" ;;
esac

exec 9<Makefile # two at once would write into the same folder
if command -v flock >/dev/null && ! flock -n 9; then
    echo "waiting for another installation in this folder"
    flock 9
fi

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 or newer is needed; found $(python3 --version 2>&1 || echo none).
Install one (Debian 12: apt install python3 python3-venv), or name one: make run PYTHON=/path/to/python3.11"
}

digest=$(cat "${locks[@]}" | sha256sum | cut -d' ' -f1)
marker=.venv/knts-$what.installed
if [[ -f $marker && $(<"$marker") == "$digest" ]] && .venv/bin/python -c 'import pip' 2>/dev/null; then
    exit 0
fi

python=$(find_python)
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python has no venv module; install it (Debian: apt install python3-venv) and run this again"
free_mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
if [[ ! -d .venv ]] && ((free_mb < free_mb_needed)); then
    die "$PWD has $free_mb MB free and the installation needs $free_mb_needed MB; make room and run this again"
fi

if [[ -d .venv ]] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "an earlier start was interrupted, or Python was upgraded; making the virtual environment anew"
    rm -rf .venv
fi
if [[ ! -d .venv ]]; then
    echo "making a virtual environment in .venv ($("$python" --version))"
    "$python" -m venv .venv
fi
new_enough .venv/bin/python || die ".venv was made with $(.venv/bin/python --version); remove .venv and run this again"

rm -f "$marker"
.venv/bin/python knts/local/leftovers.py
for lock in "${locks[@]}"; do
    echo "installing $lock ($(grep -c '==' "$lock") packages, wheels only, each checked by its digest)"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input \
        --require-hashes --only-binary :all: --no-deps -r "$lock" > >(sed -un 's/^ *Downloading \([^-]*-[^-]*\)-.* \((.*)\)$/  \1 \2/p') ||
        die "pip could not install $lock; its message stands above. Run this again to take it up"
done

# The checkout is importable in its environment, and `knts` is a command of it.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD" >"$site/knts-checkout.pth"
printf '#!/bin/sh\nexec "%s/bin/knts" "$@"\n' "$PWD" >.venv/bin/knts
chmod +x .venv/bin/knts

echo "$digest" >"$marker.part"
mv "$marker.part" "$marker"
