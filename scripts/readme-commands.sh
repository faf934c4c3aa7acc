#!/usr/bin/env bash
# Prints the commands that README.md shows and the tests run.
#
# The convention: a block fenced with ```sh is run, all blocks in order, in one shell, in the project's folder, in
# a lab of its own. A block fenced with ```console is shown only: output, commands that need a terminal,
# another machine, or ./lab test itself. Other names for shell blocks are refused, so that none is
# left out by accident.
set -euo pipefail
readme=${1:-$(dirname "${BASH_SOURCE[0]}")/../README.md}

if grep -nE '^ *```(bash|shell|zsh|shell-session)' "$readme" >&2; then
    echo "$readme: fence these with \`\`\`sh (run by the tests) or \`\`\`console (shown only)" >&2
    exit 1
fi
commands=$(awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on' "$readme")
if [ -z "$commands" ]; then
    echo "$readme: has no \`\`\`sh block, so nothing of it is tested" >&2
    exit 1
fi
if grep -n 'lab test' <<<"$commands" >&2; then
    echo "$readme: ./lab test would start itself; fence it with \`\`\`console" >&2
    exit 1
fi
printf '%s\n' "$commands"
