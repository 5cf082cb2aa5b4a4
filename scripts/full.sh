#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# full.sh: everything that .ci/run does, then the slow tier.
#
# The slow tier: the reference models against torchvision's, every test against LibTorch 2.x and under the sanitizers,
# 1,000 workers killed or stopped in 50,000 requests, control groups on pure v2 in a virtual machine, the demo as part of
# the acceptance of part 1. Each step is timed; the first that fails ends the run with its name.
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
case "${1:-}" in --help | -h) print_help && exit ;; esac
cd "$repository"

zoo_against_torchvision() {
  local amp4ec="$repository/build/test/amp4ec" folder name
  folder="$(mktemp -d)"
  for name in mobilenet_v2 resnet18 resnet50; do
    "$amp4ec" zoo "$name" -o "$folder/$name.pt"
    # Debian's own Python: its torchvision belongs to the LibTorch that amp4ec was built with.
    /usr/bin/python3 "$repository/tests/model/zoo_matches_torchvision.py" "$folder/$name.pt" "$name"
  done
  rm -r "$folder"
}

step "continuous integration" "$repository/.ci/run"
step "command under sanitizers" ctest --preset asan-ubsan -R cli
step "zoo against torchvision" zoo_against_torchvision
step "every test on LibTorch 2" "$repository/scripts/libtorch2.sh" --all
step "rounds of groups" "$repository/build/test/test_cgroup" "[.slow]"
step "soak" "$repository/build/test/soak" 50000 1000
step "accuracy of the monitor" "$repository/build/test/monitor_accuracy"
step "control groups on pure v2" "$repository/scripts/cgroup_vm.sh"
step "acceptance of part 1" "$repository/scripts/accept.sh" 1
