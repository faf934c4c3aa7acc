#!/usr/bin/env bash
# What a page cannot do to its lab, for page.mjs. HALAB_STATE names the lab.
#
#   lab.sh kill-page       kills halab web with SIGKILL; its runner starts it again
#   lab.sh count-ledgers   prints the number of ledgers of the page's writer
#   lab.sh lose-record     removes a record of the page's writer from the lab
set -euo pipefail

case $1 in
kill-page)
    for process in /proc/[0-9]*; do
        if grep -qzxF "HALAB_STATE=$HALAB_STATE" "$process/environ" 2>/dev/null &&
            grep -qzxF -e --allow-faults "$process/cmdline" 2>/dev/null; then
            kill -KILL "${process#/proc/}"
        fi
    done
    ;;
count-ledgers)
    find "$HALAB_STATE/web" -name '*.ledger' -o -name '*.verified' | wc -l
    ;;
lose-record)
    primary=$(halab status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["primary"]["node"])')
    key=$(halab cli "$primary" --user verifier SCAN 0 COUNT 2 | tail -n 1)
    [ "$(halab cli "$primary" --user writer UNLINK "$key")" = 1 ]
    ;;
*)
    echo "lab.sh: unknown action: $1" >&2
    exit 2
    ;;
esac
