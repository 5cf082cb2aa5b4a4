#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# libtorch2.sh [--all]: builds and tests amp4ec against LibTorch 2.x, in a Debian 13 tree beside this system.
#
# The tree (about 2 GB) is made once, by debootstrap, in ${XDG_CACHE_HOME:-~/.cache}/amp4ec/trixie. The sources are seen
# read-only in it; its build folder is kept for the next time. Needs root; without, it says so and succeeds. The mounts
# live in a namespace of their own and vanish with the script, however it ends.
#
#   --all   every test; without it those of the floors without LibTorch, and of models
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tests=(--label-regex '^(torch-free|model)$')
case "${1:-}" in
  --help | -h) print_help && exit ;;
  --all) tests=() ;;
  '') ;;
  *) die "unknown option '$1'; see --help" ;;
esac

if ((EUID != 0)); then
  say "libtorch2: SKIPPED: it needs root, to make a Debian tree and to enter it"
  exit 0
fi
if ! unshare --mount true 2> /dev/null; then
  say "libtorch2: SKIPPED: the kernel refuses a mount namespace here"
  exit 0
fi

cache="${XDG_CACHE_HOME:-$HOME/.cache}/amp4ec"
tree="$cache/trixie"
packages=g++,cmake,ninja-build,pkg-config,libtorch-dev,libopenblas0-pthread,libboost-dev,libcgroup-dev,libfmt-dev,catch2,libcli11-dev,ca-certificates

if [[ ! -e "$tree/usr/include/torch" ]]; then
  say "libtorch2: making a Debian 13 tree in $tree (minutes)"
  command -v debootstrap > /dev/null || die "debootstrap is missing; run scripts/setup.sh --dev"
  mkdir -p "$cache"
  rm -rf "$tree.new"
  debootstrap --variant=minbase --include="$packages" trixie "$tree.new" http://deb.debian.org/debian > "$tree.log" 2>&1 ||
    die "debootstrap failed; see $tree.log"
  mv "$tree.new" "$tree"
fi

mkdir -p "$tree/src/amp4ec" "$tree/var/tmp/amp4ec-build"
# shellcheck disable=SC2016 # expanded inside
exec unshare --mount --propagation private bash -euo pipefail -c '
  tree="$1" repository="$2" jobs="$3"
  shift 3
  mount --bind "$repository" "$tree/src/amp4ec"
  mount -o remount,bind,ro "$tree/src/amp4ec"
  mount -t proc proc "$tree/proc"
  mount --rbind /sys "$tree/sys"
  mount --rbind /dev "$tree/dev"
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot "$tree" bash -euo pipefail -c "
    jobs=\"\$1\"
    shift
    cmake -S /src/amp4ec -B /var/tmp/amp4ec-build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DAMP4EC_WARNINGS_AS_ERRORS=ON
    cmake --build /var/tmp/amp4ec-build --parallel \"\$jobs\"
    exec ctest --test-dir /var/tmp/amp4ec-build --output-on-failure \"\$@\"
  " inside "$jobs" "$@"
' libtorch2 "$tree" "$repository" "$(build_jobs)" "${tests[@]}"
