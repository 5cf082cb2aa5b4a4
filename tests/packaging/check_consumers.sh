#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_consumers.sh: amp4ec as others use it: installed and found by find_package, and built by add_subdirectory. Both
# programs, and the examples against the installed package, are built and run from a temporary folder.
# shellcheck source-path=SCRIPTDIR source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
case "${1:-}" in --help | -h) print_help && exit ;; esac

work="$(mktemp -d)"
# Beside the other build folders: ccache then has most objects already.
package="$repository/build/package" embedded="$repository/build/embedded"
trap 'rm -rf "$work" "$package" "$embedded"' EXIT
prefix="$work/prefix"
here="$repository/tests/packaging"
same_flags=(-DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1" -DAMP4EC_WARNINGS_AS_ERRORS=ON
  --log-level=WARNING)

say "== install into a temporary prefix"
cmake -S "$repository" -B "$package" "${same_flags[@]}" -DCMAKE_INSTALL_PREFIX="$prefix" \
  -DAMP4EC_BUILD_TESTS=OFF -DAMP4EC_BUILD_EXAMPLES=OFF
cmake --build "$package" --parallel "$(build_jobs)"
cmake --install "$package" > /dev/null
if grep -rnF -e "$repository" -e "$package" "$prefix/lib" --include='*.cmake'; then
  die "the installed package names folders of the machine that built it"
fi
"$package/amp4ec" zoo mobilenet_v2 -o "$work/mobilenet_v2.pt"
rm -r "$package" # nothing below may lean on it

build_and_run() {
  local name="$1" source="$2" program="$3"
  shift 3
  say "== $name"
  cmake -S "$source" -B "$work/$name" "${same_flags[@]}" "$@"
  cmake --build "$work/$name" --parallel "$(build_jobs)" --target "$program"
  (cd "$work" && "$work/$name/$program" "$work/mobilenet_v2.pt")
}

build_and_run installed "$here/consumer" consumer -DCMAKE_PREFIX_PATH="$prefix"
build_and_run example_hello "$repository/examples/hello" example_hello -DCMAKE_PREFIX_PATH="$prefix"
build_and_run example_process_workers "$repository/examples/process_workers" example_process_workers \
  -DCMAKE_PREFIX_PATH="$prefix"

say "== embedded by add_subdirectory"
cmake -S "$here/consumer" -B "$embedded" "${same_flags[@]}" -DAMP4EC_SOURCE="$repository"
cmake --build "$embedded" --parallel "$(build_jobs)" --target consumer amp4ec-worker
"$embedded/consumer" "$work/mobilenet_v2.pt"
