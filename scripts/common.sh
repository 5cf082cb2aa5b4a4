# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the scripts beside it; sourced, never run.
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
me="$(basename "$0")"

say() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "$me" "$*" >&2
  exit 2
}

# Prints the comment block at the top of the running script, without its licence line, as its help.
print_help() { sed -n '/^# SPDX/d; 2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }

# ccache may share objects between clones and build folders: only the folder in the debug information differs.
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$repository"
if [[ -z "${CMAKE_GENERATOR:-}" ]] && command -v ninja > /dev/null; then export CMAKE_GENERATOR=Ninja; fi
if [[ -z "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ]] && command -v ccache > /dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi

# How many compilers may run: the CPUs, but no more than fit the memory that is free. LibTorch's headers take about 1.5 GB.
build_jobs() {
  local cpus fitting
  cpus="$(nproc)"
  fitting="$(awk '/^MemAvailable:/ { print int($2 / 1572864) }' /proc/meminfo)"
  if ((fitting < 1)); then fitting=1; fi
  echo "${AMP4EC_JOBS:-$((cpus < fitting ? cpus : fitting))}"
}

# build FOLDER PRESET [TARGET...]: configures with a preset of CMakePresets.json and builds.
build() {
  local folder="$1" preset="$2"
  shift 2
  local targets=()
  if (($#)); then targets=(--target "$@"); fi
  say "== $folder (preset $preset, $(build_jobs) jobs)"
  mkdir -p "$folder" 2> /dev/null || true
  [[ -w "$folder" ]] || die "cannot write $folder: another user has built here; remove $repository/build"
  # The generator of a folder is fixed when it is first configured.
  local generator=()
  if [[ -f "$folder/CMakeCache.txt" ]]; then
    generator=(-G "$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$folder/CMakeCache.txt")")
  fi
  (cd "$repository" && cmake --preset "$preset" -B "$folder" "${generator[@]}" --log-level=WARNING)
  cmake --build "$folder" --parallel "$(build_jobs)" "${targets[@]}"
}
