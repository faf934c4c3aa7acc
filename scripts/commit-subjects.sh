#!/usr/bin/env bash
# Checks the subject of each commit that is not in BASE (default: origin/main): at most 72
# characters, without a full stop (CONTRIBUTING.md).
#
#     scripts/commit-subjects.sh [BASE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

subjects=$(git log --no-merges --format='%h %s' "${1:-origin/main}..HEAD")
status=0
while read -r commit subject; do
    if [ "${#subject}" -gt 72 ]; then
        echo "$commit: the subject has ${#subject} characters, more than 72: $subject" >&2
        status=1
    elif [[ $subject = *. ]]; then
        echo "$commit: the subject ends with a full stop: $subject" >&2
        status=1
    fi
done <<<"$subjects"
exit $status
