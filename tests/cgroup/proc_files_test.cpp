// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/proc_files.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;

TEST_CASE("/proc/self/cgroup") {
  const auto groups = parse_own_groups("4:memory:/docker/17\n2:cpu,cpuacct:/\n1:name=systemd:/a:b\n0::/init.scope\n");
  REQUIRE(groups);
  REQUIRE(groups->size() == 4);
  CHECK((*groups)[0].path == "/docker/17");
  CHECK((*groups)[1].controllers == "cpu,cpuacct");
  CHECK((*groups)[2].path == "/a:b");
  CHECK((*groups)[3].hierarchy == 0);
  CHECK((*groups)[3].controllers.empty());
  CHECK(parse_own_groups("")->empty());
  for (const auto* text : {"4:memory\n", "memory:/\n", "x:memory:/\n", "4:memory:relative\n", "\n"}) {
    INFO(text);
    CHECK_FALSE(parse_own_groups(text));
  }
}

TEST_CASE("/proc/self/mountinfo") {
  const auto mounts = parse_mounts(
      "23 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:32 /docker/17 /sys/fs/my\\040cgroup ro - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n");
  REQUIRE(mounts);
  REQUIRE(mounts->size() == 3);
  CHECK((*mounts)[0].version == 1);
  CHECK((*mounts)[0].mount_point == "/sys/fs/cgroup/cpu,cpuacct");
  CHECK((*mounts)[0].controllers == "rw,cpu,cpuacct");
  CHECK((*mounts)[1].root == "/docker/17");
  CHECK((*mounts)[1].mount_point == "/sys/fs/my cgroup");
  CHECK((*mounts)[2].version == 2);
  CHECK((*mounts)[2].controllers.empty());
  CHECK_FALSE(parse_mounts("32 31 0:29 / /sys/fs/cgroup cgroup cgroup rw\n"));
  CHECK_FALSE(parse_mounts("32 31 - cgroup cgroup rw\n"));
}

TEST_CASE("/proc/<pid>/stat, whatever the program is called") {
  const auto stat = parse_process_stat(
      "4711 (we) ird) R (x) S 1 4711 4711 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 3 0 887766 2912256 200\n");
  REQUIRE(stat);
  CHECK(stat->state == 'S');
  CHECK(stat->threads == 3);
  CHECK(stat->start_time == 887766);
  CHECK_FALSE(parse_process_stat("4711 (short) S 1 2 3\n"));
  CHECK_FALSE(parse_process_stat("no parentheses"));
  CHECK_FALSE(parse_process_stat(""));
}
