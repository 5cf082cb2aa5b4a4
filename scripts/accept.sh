#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# accept.sh N: shows, for each line that part N must hold, the figure, whether it holds, and the command that gave it.
#
# Builds and runs what is needed (minutes). Exits with 1 when a line does not hold, and with 2 when
# part N has no acceptance yet. Run it on an otherwise idle machine: it measures. As root, or some lines cannot hold.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in
  --help | -h) print_help && exit ;;
  '') die "say which part, e.g. accept.sh 1" ;;
esac
checks="$repository/scripts/accept_part$1.py"
[[ -f "$checks" ]] || die "part $1 has no acceptance script yet"

"$repository/scripts/setup.sh" --dev
case "$1" in
  1) build "$repository/build/release" release amp4ec-cli amp4ec-worker ;;
  3)
    build "$repository/build/test" dev test_cgroup test_monitor monitor_accuracy test_runtime
    (cd "$repository" && cmake --preset release -B build/bench -DAMP4EC_BUILD_BENCH=ON --log-level=WARNING)
    build "$repository/build/bench" release amp4ec_monitor_bench
    ;;
  4)
    (cd "$repository" && cmake --preset release -B build/bench -DAMP4EC_BUILD_BENCH=ON --log-level=WARNING)
    build "$repository/build/bench" release amp4ec_hop_bench amp4ec_session_bench amp4ec-cli amp4ec-worker
    build "$repository/build/test" dev soak amp4ec-worker
    build "$repository/build/asan" asan-ubsan
    build "$repository/build/tsan" tsan test_core test_plan test_ipc test_cgroup test_schedule test_monitor
    ;;
  5)
    (cd "$repository" && cmake --preset release -B build/bench -DAMP4EC_BUILD_BENCH=ON --log-level=WARNING)
    build "$repository/build/bench" release amp4ec_plan_bench amp4ec_simulate_bench amp4ec-cli amp4ec-worker
    build "$repository/build/test" dev test_plan
    ;;
  *) build "$repository/build/test" dev amp4ec-cli amp4ec-worker fuzz_probe lowering_cost ;;
esac
exec /usr/bin/python3 "$checks" "$repository"
