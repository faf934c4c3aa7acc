#!/usr/bin/env bash
# documented-commands.sh FILE: prints the commands that a document shows and the tests run.
#
# The convention: a block fenced with ```sh is run, all blocks of a file in order, in one shell, in a lab of its own. A
# block fenced with ```console is shown only: output, commands that need a terminal, another machine, or ./lab test
# itself. Other names for shell blocks are refused, so that none is left out by accident.
set -euo pipefail
document=$1

if grep -nE '^ *```(bash|shell|zsh|shell-session)' "$document" >&2; then
    echo "$document: fence these with \`\`\`sh (run by the tests) or \`\`\`console (shown only)" >&2
    exit 1
fi
# Also within a list, where it is indented.
commands=$(awk '/^ *```sh$/ { on = 1; next } /^ *```/ { on = 0 } on' "$document")
if [ -z "$commands" ]; then
    echo "$document: has no \`\`\`sh block, so nothing of it is tested" >&2
    exit 1
fi
if grep -n 'lab test' <<<"$commands" >&2; then
    echo "$document: ./lab test would start itself; fence it with \`\`\`console" >&2
    exit 1
fi
printf '%s\n' "$commands"
