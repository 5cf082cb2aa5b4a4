#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_docs.sh REPOSITORY: fails when a document does not say what the code says.
#
#   - docs/errors.md explains every error code, under its number, and no code that does not exist
#   - the program in README.md is examples/hello/main.cpp
#   - relative links in the documents lead somewhere
set -euo pipefail
cd "$1"
failures=0
fail() {
  echo "$*"
  failures=$((failures + 1))
}

# "404 OutOfMemory" for every enumerator: a bare one counts on from the one before it.
codes="$(sed -n '/^enum class Errc/,/^};/p' include/amp4ec/core/error.hpp | sed 's|//.*||' |
  awk 'match($0, /^ *[A-Z][A-Za-z]*( = [0-9]+)?,/) {
         split($0, part, /[ ,=]+/); if (part[3] ~ /^[0-9]+$/) number = part[3]; else ++number
         print number, part[2] }')"
[[ -n "$codes" ]] || fail "no error code found in include/amp4ec/core/error.hpp"
explained="$(sed -n 's/^### \([0-9]* [A-Za-z]*\)$/\1/p' docs/errors.md)"
while IFS= read -r code; do
  grep -qxF "$code" <<< "$explained" || fail "docs/errors.md lacks the section '### $code'"
  sed -n "/^### $code\$/,/^##/p" docs/errors.md | grep -q '^\*\*What to do\.\*\* .' ||
    fail "docs/errors.md: the section '$code' does not say what to do"
done <<< "$codes"
while IFS= read -r code; do
  grep -qxF "$code" <<< "$codes" || fail "docs/errors.md explains '$code', which is no error code"
done <<< "$explained"

# shellcheck disable=SC2016 # the back quotes are Markdown's
quoted="$(sed -n '/^```cpp$/,/^```$/p' README.md | sed '/^```/d')"
program="$(sed '/^\/\/ SPDX/d' examples/hello/main.cpp)"
[[ "$quoted" == "$program" ]] || {
  diff <(echo "$quoted") <(echo "$program") || true
  fail "the program in README.md is not examples/hello/main.cpp"
}

for document in *.md docs/*.md; do
  while IFS= read -r target; do
    [[ -e "$(dirname "$document")/$target" ]] || fail "$document: the link to $target leads nowhere"
  done < <(grep -oE '\]\([^)#]+' "$document" | sed 's/^](//' | grep -vE '^(https?|mailto):' || true)
done
echo "$(wc -l <<< "$codes") error codes, $failures faults"
((failures == 0))
