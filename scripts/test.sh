#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test.sh [CTEST ARGUMENT...]: sets up, builds into build/test with warnings as errors, runs the tests.
#
# AMP4EC_PRESET names another preset than dev. Arguments go to ctest, e.g. `test.sh -R plan` or `test.sh -L torch-free`.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in --help | -h) print_help && exit ;; esac

"$repository/scripts/setup.sh"
build "$repository/build/test" "${AMP4EC_PRESET:-dev}"
ctest --test-dir "$repository/build/test" --output-on-failure "$@"
