# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# step NAME COMMAND...: runs a step of a long check and times it; the first step that fails ends the script with its
# name. However the script ends, a table of the steps closes it. Sourced, never run.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

step_table=()
step_running=''
step_started=0

step() {
  step_running="$1"
  step_started=$SECONDS
  shift
  printf '\n==== %s\n' "$step_running"
  ("$@") < /dev/null # no `||` here: `set -e` must hold inside
  step_table+=("$(printf '%-34s %6d s  ok' "$step_running" "$((SECONDS - step_started))")")
  step_running=''
}

print_steps() {
  local status=$?
  if [[ -n "$step_running" ]]; then
    step_table+=("$(printf '%-34s %6d s  FAILED' "$step_running" "$((SECONDS - step_started))")")
  fi
  printf '\n%-34s %8s  result\n' step time
  printf '%s\n' "${step_table[@]}"
  printf '%-34s %6d s\n' total "$SECONDS"
  if ((status != 0)); then printf "%s: failed in step '%s'\n" "$me" "${step_running:-unknown}"; fi
}
trap print_steps EXIT
