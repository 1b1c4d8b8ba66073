#!/usr/bin/env bash
# Prints the path of a Chromium for the browser tests; installs Debian's where it may (root with apt-get).
# Prints nothing, and says why on stderr, where there is none: those tests are then skipped.
set -euo pipefail

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }
has_libatomic() { /sbin/ldconfig -p | grep -q 'libatomic\.so\.1'; } # Playwright's driver wants it

wanted=()
[[ -n $(find_browser) ]] || wanted+=(chromium)
has_libatomic || wanted+=(libatomic1)
if ((${#wanted[@]})); then
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "installing ${wanted[*]} for the browser tests" >&2
        log=$(mktemp)
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${wanted[@]}"; } \
            >"$log" 2>&1 || { tail -5 "$log" >&2; echo "${wanted[*]} could not be installed" >&2; }
        rm -f "$log"
    else
        echo "no ${wanted[*]}: browser tests are skipped (apt install ${wanted[*]})" >&2
    fi
fi
if has_libatomic; then find_browser; fi
