#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# full.sh: everything that .ci/run does, then the slow tier.
#
# The slow tier: the reference models against torchvision's, every test against LibTorch 2.x, the demo as part of the
# acceptance of part 1. Each step is timed; the first that fails ends the run with its name.
# shellcheck source-path=SCRIPTDIR source=steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
case "${1:-}" in --help | -h) print_help && exit ;; esac

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

# Our sources, and the generated files that include every public header. What is included first lets clang read LibTorch's
# headers.
run_clang_tidy() {
  cd "$repository"
  cmake --preset dev -B build/tidy --log-level=WARNING
  { git ls-files -co --exclude-standard 'src/*.cpp' 'tools/*.cpp' && ls build/tidy/tests/packaging/header_check/*_all.cpp; } |
    xargs -P "$(build_jobs)" -n 1 clang-tidy --config-file=.clang-tidy -p build/tidy --quiet --warnings-as-errors='*' \
      --extra-arg-before=-include --extra-arg-before="$repository/tests/support/clang_vector.hpp"
}

step "continuous integration" "$repository/.ci/run"
step "clang-tidy" run_clang_tidy
step "installed and embedded" "$repository/tests/packaging/check_consumers.sh"
step "zoo against torchvision" zoo_against_torchvision
step "every test on LibTorch 2" "$repository/scripts/libtorch2.sh" --all
step "acceptance of part 1" "$repository/scripts/accept.sh" 1
