#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cgroup_vm.sh [--tests FOLDER]: runs the tests of cgroup/ and monitor/ on pure cgroup v2 with systemd, in a virtual machine.
#
# They run as root, as a user with a delegated group (in it, and in a child of it) and as a user without any rights; a
# table of what passed, skipped itself and failed closes the run, which fails when a test did. The machine has no network
# and is emulated in software, so that it runs anywhere: about 2 minutes. Its disk, with the Debian release of this system,
# is made once, which takes minutes more and needs root; without, the script says so and succeeds. The disk (500 MB) is
# kept in ${XDG_CACHE_HOME:-~/.cache}/amp4ec, and no run writes to it. Logs: build/cgroup_vm.
#
#   --tests FOLDER   take test_cgroup and test_monitor from there; without it they are built in build/test
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tests=''
case "${1:-}" in
  --help | -h) print_help && exit ;;
  --tests) tests="${2:?--tests needs a folder}" ;;
  '') ;;
  *) die "unknown option '$1'; see --help" ;;
esac

# The release that the tests are built on has their libraries; the development packages name them alike in all releases.
release="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)"
packages=systemd-sysv,dbus,dbus-user-session,libpam-systemd,linux-image-cloud-amd64,libfmt-dev,libcgroup-dev,prometheus-cpp-dev
cache="${XDG_CACHE_HOME:-$HOME/.cache}/amp4ec"
machine="$cache/vm-$release"
logs="$repository/build/cgroup_vm"

temporary='' # a folder
attended=''  # a process
clean_up() {
  if [[ -n "$attended" ]] && kill "$attended" 2> /dev/null; then wait "$attended" || true; fi
  if [[ -n "$temporary" ]]; then rm -rf --one-file-system "$temporary"; fi
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# attend SECONDS COMMAND...: runs it with a watchdog, in the background so that a signal to the script is heard at once.
# The command and its children go with the script, even when that is killed.
attend() {
  local limit="$1" status=0
  shift
  setpriv --pdeathsig TERM timeout --kill-after 10 "$limit" "$@" < /dev/null &
  attended=$!
  wait "$attended" || status=$?
  attended=''
  return "$status"
}

make_machine() {
  say "cgroup_vm: making a disk with Debian ($release) in $machine (minutes)"
  mkdir -p "$cache"
  temporary="$(mktemp -d "$cache/vm.XXXXXX")"
  local tree="$temporary/tree" new="$temporary/new"
  mkdir "$new"
  # Whatever debootstrap mounts goes with its namespace, however it ends.
  attend 3600 unshare --mount debootstrap --variant=minbase --include="$packages" \
    "$release" "$tree" http://deb.debian.org/debian \
    > "$logs/debootstrap.log" 2>&1 || die "debootstrap failed; see $logs/debootstrap.log"
  rm -rf "$tree"/var/cache/apt/archives/*.deb
  cp -L "$tree/vmlinuz" "$tree/initrd.img" "$new"
  mke2fs -q -t ext4 -d "$tree" "$new/disk" 1G
  echo "$packages" > "$new/packages"
  rm -rf "$machine"
  mv "$new" "$machine"
  rm -rf --one-file-system "$temporary"
  temporary=''
}

# Boots, runs guest.sh, which comes on the second disk and answers over the second serial line, and powers off.
run_machine() {
  local command="/bin/sh -c 'tar -xf /dev/vdb -C /opt && exec /opt/guest.sh > /dev/ttyS1 2>&1'"
  : > "$logs/results"
  attend 900 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1G -nodefaults -display none -no-reboot \
    -kernel "$machine/vmlinuz" -initrd "$machine/initrd.img" \
    -append "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off systemd.run=\"$command\"" \
    -drive "file=$machine/disk,format=raw,if=virtio,snapshot=on" \
    -drive "file=$temporary/tests.tar,format=raw,if=virtio,readonly=on" \
    -serial "file:$logs/console" -serial "file:$logs/results" 2> "$logs/qemu"
}

if [[ "$(uname -m)" != x86_64 ]]; then
  say "cgroup_vm: SKIPPED: the machine runs this system's programs, and is an x86-64 one"
  exit 0
fi
mkdir -p "$logs"
if [[ "$(cat "$machine/packages" 2> /dev/null)" != "$packages" ]]; then
  if ((EUID != 0)) || ! unshare --mount true 2> /dev/null; then
    say "cgroup_vm: SKIPPED: it needs root, and mount namespaces, to make the machine's disk"
    exit 0
  fi
  command -v debootstrap > /dev/null || die "debootstrap is missing; run scripts/setup.sh --dev"
  make_machine
fi
command -v qemu-system-x86_64 > /dev/null || die "qemu-system-x86_64 is missing; run scripts/setup.sh --dev"
if [[ -z "$tests" ]]; then
  tests="$repository/build/test"
  build "$tests" dev test_cgroup test_monitor
fi

temporary="$(mktemp -d)"
tar -cf "$temporary/tests.tar" -C "$tests" test_cgroup test_monitor -C "$repository/scripts/cgroup_vm" guest.sh
say "cgroup_vm: booting; logs in $logs"
run_machine || say "cgroup_vm: the emulator ended with status $?; see $logs/qemu and $logs/console"
"$repository/scripts/cgroup_vm/report.py" "$logs/results"
