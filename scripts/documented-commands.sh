#!/usr/bin/env bash
# documented-commands.sh FILE: prints the commands of a document that the tests run.
#
# The convention: the tests run blocks fenced with ```sh, all blocks of a file in order, in one
# shell, in a separate lab. Blocks fenced with ```console are only shown: output, and commands that
# need a terminal, another machine, or ./lab test itself. Other names for shell blocks are refused,
# so that none is skipped by accident.
set -euo pipefail
document=$1

if grep -nE '^ *```(bash|shell|zsh|shell-session)' "$document" >&2; then
    echo "$document: fence these with \`\`\`sh (run by the tests) or \`\`\`console (shown only)" >&2
    exit 1
fi
# Blocks in lists are indented.
commands=$(awk '/^ *```sh$/ { on = 1; next } /^ *```/ { on = 0 } on' "$document")
if [ -z "$commands" ]; then
    echo "$document: has no \`\`\`sh block to test" >&2
    exit 1
fi
if grep -n 'lab test' <<<"$commands" >&2; then
    echo "$document: ./lab test would run itself; fence it with \`\`\`console" >&2
    exit 1
fi
printf '%s\n' "$commands"
