#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh [--dev]: installs the Debian packages that amp4ec needs, and sees to it that LibTorch finds an optimised BLAS.
#
#   --dev   also what checks the project: clang-format, clang-tidy, debootstrap, QEMU, benchmark, torchvision, ...
#
# Asks dpkg first: when nothing is missing it changes nothing, needs no rights and takes a moment. Installing needs root
# or sudo. For Debian 12 and later.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

packages=(libtorch-dev libopenblas0-pthread libcgroup-dev prometheus-cpp-dev libfmt-dev catch2
  libcli11-dev cmake ninja-build g++ ccache pkg-config)
case "${1:-}" in
  --help | -h) print_help && exit ;;
  --dev) packages+=(clang-format clang-tidy debootstrap qemu-system-x86 e2fsprogs git procps libbenchmark-dev
    python3-torchvision) ;;
  '') ;;
  *) die "unknown option '$1'; see --help" ;;
esac
command -v dpkg-query > /dev/null || die "this is not a Debian system; install by hand: ${packages[*]} and Boost 1.81 or later"

installed="$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' "${packages[@]}" 'libboost*-dev' 2> /dev/null |
  awk '$1 == "ii" { print $2, $3 }')" || true

# Debian 12's libboost-dev is 1.74, too old; libboost1.81-dev lies beside it. Later releases have what is needed as libboost-dev.
boost_is_installed() {
  awk '$1 == "libboost-dev" || $1 ~ /^libboost1\.[0-9]+-dev$/ { split($2, part, "."); if (part[2] >= 81) found = 1 }
       END { exit !found }' <<< "$installed"
}

missing=()
for package in "${packages[@]}"; do
  grep -q "^$package " <<< "$installed" || missing+=("$package")
done
boost_is_installed || missing+=(boost)

as_root=()
may_be_root() {
  if ((EUID == 0)); then return 0; fi
  command -v sudo > /dev/null || return 1
  as_root=(sudo)
  if [[ ! -t 0 ]]; then as_root=(sudo -n); fi
  "${as_root[@]}" true 2> /dev/null
}

if ((${#missing[@]})); then
  listed="${missing[*]/#boost/libboost1.81-dev}"
  may_be_root || die "missing packages, and neither root nor sudo to install them; ask for: apt-get install $listed"
  say "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  for index in "${!missing[@]}"; do
    if [[ "${missing[index]}" == boost ]]; then
      missing[index]=libboost-dev
      if apt-cache show libboost1.81-dev > /dev/null 2>&1; then missing[index]=libboost1.81-dev; fi
    fi
  done
  # What is there stays: Boost 1.81, for one, would push another Boost out, and all that needs it.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-remove --no-install-recommends \
    "${missing[@]}" > /dev/null ||
    die "apt-get cannot install these: ${missing[*]}; if it would have to remove packages, decide by hand: apt-get install ${missing[*]}"
fi

# With the reference BLAS, LibTorch is several times slower.
for link in /etc/alternatives/libblas.so.3* /etc/alternatives/liblapack.so.3*; do
  if [[ ! -e "$link" || "$(readlink -f "$link")" == */openblas* ]]; then continue; fi
  name="$(basename "$link")"
  chosen="$(readlink -f "$link")"
  if [[ "$chosen" != */blas/* && "$chosen" != */lapack/* ]]; then continue; fi # not the reference one: somebody's choice
  fast="$(update-alternatives --list "$name" | grep -m1 openblas || true)"
  if [[ -n "$fast" ]] && may_be_root; then
    "${as_root[@]}" update-alternatives --set "$name" "$fast" > /dev/null
    say "setup: $name is now $fast"
  else
    say "setup: warning: $name is the slow reference library ($chosen); choose another: update-alternatives --config $name"
  fi
done
say "setup: everything is installed"
