#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh [--quick]: the main job, from sources to figures.
#
# Sets up, builds into build/release, makes MobileNetV2 and runs it three ways on nodes of 1.0, 0.6 and 0.4 CPUs:
#   1. as one pipeline over all three nodes, beside the whole model on each node alone and on all CPUs
#   2. with as many pipelines as the planner likes
#   3. by a plan written by hand, in which the second segment has two workers, so that the Scheduler picks a route
#      for every request
# Every answer is compared with the unsplit model's. Without the right to make cgroups it still runs; it then says which
# limits do not bind.
#
#   --quick   shorter measurements
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=12
case "${1:-}" in
  --help | -h) print_help && exit ;;
  --quick) seconds=4 ;;
  '') ;;
  *) die "unknown option '$1'; see --help" ;;
esac

"$repository/scripts/setup.sh"
build "$repository/build/release" release amp4ec-cli amp4ec-worker

amp4ec="$repository/build/release/amp4ec"
work="$repository/build/release/demo"
model="$work/mobilenet_v2.pt"
profile="$work/profile.json"
input=(--input 1x3x224x224)
nodes=(--node high:1.0:1GiB --node medium:0.6:512MiB --node low:0.4:512MiB)
mkdir -p "$work"

heading() { printf '\n== %s\n\n' "$*"; }

# field NAME < JSON: the values of a field, one a line.
field() { grep -oE "\"$1\": *[0-9]+" | grep -oE '[0-9]+$'; }

heading "MobileNetV2 as TorchScript, and what its layers cost"
"$amp4ec" zoo mobilenet_v2 -o "$model"
# Two equal nodes show where the model's halves meet. The profile is kept for the runs below.
rm -f "$profile"
"$amp4ec" plan "$model" "${input[@]}" --profile "$profile" --pipelines 1 \
  --node left:1.0:1GiB --node right:1.0:1GiB -o "$work/halves.json"

heading "1. One pipeline over three nodes"
"$amp4ec" run "$model" "${input[@]}" --profile "$profile" "${nodes[@]}" --pipelines 1 --baseline --seconds "$seconds"

heading "2. As many pipelines as the planner likes"
"$amp4ec" run "$model" "${input[@]}" --profile "$profile" "${nodes[@]}" --pipelines any --seconds "$seconds"

heading "3. A plan by hand: 'high' runs the first half, 'medium' or 'low' the second; the Scheduler decides"
mapfile -t last < <(field last_layer < "$work/halves.json")
((${#last[@]} == 2)) || die "expected two stages in $work/halves.json, found ${#last[@]}"
first_half="\"first_layer\": 0, \"last_layer\": ${last[0]}"
second_half="\"first_layer\": $((last[0] + 1)), \"last_layer\": ${last[1]}"
cat > "$work/by_hand.json" << PLAN
{
  "schema": 1,
  "pipelines": [
    {"stages": [{"node": "high", $first_half}, {"node": "medium", $second_half}]},
    {"stages": [{"node": "high", $first_half}, {"node": "low", $second_half}]}
  ]
}
PLAN
cat "$work/by_hand.json"
"$amp4ec" run "$model" "${input[@]}" --profile "$profile" --plan "$work/by_hand.json" "${nodes[@]}" --seconds "$seconds"

# `run` fails when an answer differs, and the script with it.
heading "In all three runs every answer was equal to the unsplit model's"
