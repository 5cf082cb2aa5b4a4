#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest.sh: runs as root in the virtual machine of cgroup_vm.sh, and writes what report.py reads.
set -u
here=/opt
test_limit=240 # s; a watchdog against hangs
stty raw < /dev/ttyS1

echo "# $(uname -sr), $(systemctl --version | head -1)"
echo "# /sys/fs/cgroup is $(stat -fc %T /sys/fs/cgroup) with $(cat /sys/fs/cgroup/cgroup.controllers)"
if [[ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]]; then exit 1; fi

# Says which limits a user can give to groups of its own, and hold a process with: found by trying, without our library,
# in its own group and in those above it. It leaves all as it was.
# shellcheck disable=SC2016 # expanded inside
probe='group="/sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup)"
while :; do
  if mkdir "$group/probe" 2> /dev/null; then
    had="$(cat "$group/cgroup.subtree_control")"
    found= attached=yes
    for controller in cpu memory; do
      (echo "+$controller" > "$group/cgroup.subtree_control") 2> /dev/null
      if [ -w "$group/probe/$controller.max" ]; then found="$found $controller"; fi
    done
    (sh -c "echo \$\$ > $group/probe/cgroup.procs") 2> /dev/null || attached=
    until rmdir "$group/probe" 2> /dev/null; do sleep 0.1; done
    for controller in $found; do
      case " $had " in *" $controller "*) ;; *) echo "-$controller" > "$group/cgroup.subtree_control" ;; esac
    done
    if [ "$found$attached" = " cpu memoryyes" ]; then echo "cpu memory" && exit; fi
  fi
  if [ "$group" = /sys/fs/cgroup ]; then echo none && exit; fi
  group="${group%/*}"
done'

# run WHO COMMAND...: both test programs, started by COMMAND.
run() {
  local who="$1" test
  shift
  echo "# rights of $who: $("$@" sh -c "$probe")"
  for test in test_cgroup test_monitor; do
    echo "== $who $test"
    "$@" timeout --kill-after 5 "$test_limit" "$here/$test" --reporter xml < /dev/null
    printf '\n== end %d\n' $?
  done
}

as_user() {
  runuser -u worker -- env XDG_RUNTIME_DIR="/run/user/$user" "$@"
}

systemctl start multi-user.target # what a usual boot starts
useradd --create-home worker
user="$(id -u worker)"
loginctl enable-linger worker
systemctl start "user@$user.service" # the user's own systemd; waits for it
echo "# a user's groups have $(cat "/sys/fs/cgroup/user.slice/user-$user.slice/user@$user.service/cgroup.controllers")"

# A group that holds processes can give its children no controllers: the host sits in a child of the delegated group.
# shellcheck disable=SC2016 # expanded inside
in_child='group="/sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup)"
mkdir "$group/host" && echo $$ > "$group/host/cgroup.procs" && exec "$@"'

run root systemd-run --quiet --scope
run delegated as_user systemd-run --user --quiet --scope -p Delegate=yes
run delegated-child as_user systemd-run --user --quiet --scope -p Delegate=yes sh -c "$in_child" sh
run unprivileged systemd-run --quiet --scope --uid nobody
echo "# left behind: $(find /sys/fs/cgroup -name 'amp4ec-*' | wc -l) groups"
echo "== done"
