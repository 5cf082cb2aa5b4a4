#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_floors.sh REPOSITORY: fails when a folder includes one that stands on the same floor or above it, or when a
# floor without LibTorch includes LibTorch.
set -euo pipefail
cd "$1"

declare -A may_include=(
  [core]='core'
  [plan]='core plan'
  [ipc]='core ipc'
  [cgroup]='core cgroup'
  [schedule]='core plan ipc cgroup schedule'
  [monitor]='core plan ipc cgroup monitor'
  [model]='core plan ipc cgroup model'
  [runtime]='core plan ipc cgroup schedule monitor model runtime'
)
failures=0
checked=0
for folder in "${!may_include[@]}"; do
  files="$(find "include/amp4ec/$folder" "src/$folder" -name '*.[hc]pp' 2> /dev/null || true)"
  for file in $files; do
    checked=$((checked + 1))
    included="$(sed -nE 's|^ *#include [<"](amp4ec/)?([a-z_]+)/[a-z_/]+\.hpp[>"].*|\2|p' "$file" | sort -u)"
    for other in $included; do
      # Names that are no folder of ours (fmt, boost, detail) are not judged here.
      if [[ -v "may_include[$other]" && " ${may_include[$folder]} " != *" $other "* ]]; then
        echo "$file includes $other/, which '$folder' may not know"
        failures=$((failures + 1))
      fi
    done
    if [[ "$folder" != model && "$folder" != runtime ]] && grep -nE '^ *#include [<"](torch|ATen|c10)/' "$file"; then
      echo "$file: '$folder' is a floor without LibTorch"
      failures=$((failures + 1))
    fi
  done
done
echo "$checked files checked, $failures faults"
((failures == 0 && checked > 0))
