// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/kernel_files.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;

TEST_CASE("cpu.stat of v1 counts throttled nanoseconds") {
  const auto stat =
      parse_cpu_stat_v1("nr_periods 75\nnr_throttled 60\nthrottled_time 1043567890\nnr_bursts 0\nburst_time 0\n");
  REQUIRE(stat);
  CHECK(stat->throttled_us == 1043567);
  CHECK(stat->nr_throttled == 60);
  CHECK(stat->usage_us == 0);
}

TEST_CASE("cpu.stat of v2 has the usage, and throttling where the controller is enabled") {
  const auto limited = parse_cpu_stat_v2(
      "usage_usec 5000123\nuser_usec 4000000\nsystem_usec 1000123\nnice_usec 0\nnr_periods 10\nnr_throttled 3\n"
      "throttled_usec 4711\nnr_bursts 0\nburst_usec 0\n");
  REQUIRE(limited);
  CHECK(limited->usage_us == 5000123);
  CHECK(limited->throttled_us == 4711);
  CHECK(limited->nr_throttled == 3);

  const auto bare = parse_cpu_stat_v2("usage_usec 17\nuser_usec 17\nsystem_usec 0\n");
  REQUIRE(bare);
  CHECK(bare->usage_us == 17);
  CHECK(bare->nr_throttled == 0);
}

TEST_CASE("single numbers") {
  CHECK(*parse_number_file("123456789012\n") == 123456789012U);
  CHECK(*parse_number_file("0\n") == 0);
  CHECK(*parse_number_file("18446744073709551615\n") == 18446744073709551615U);
  for (const auto* text : {"", "\n", "max\n", "-1\n", "12 \n", "1e6\n", "18446744073709551616\n", "1\n2\n"}) {
    INFO(text);
    const auto number = parse_number_file(text);
    REQUIRE_FALSE(number);
    CHECK(number.error().code == Errc::CgroupFailed);
  }
}

TEST_CASE("inactive file cache: v1 counts the groups below, v2 always does") {
  CHECK(*parse_inactive_file("cache 10\ninactive_file 5\nactive_file 1\ntotal_cache 99\ntotal_inactive_file 50\n") ==
        50);
  CHECK(*parse_inactive_file("anon 1\nfile 2\ninactive_file 77\nactive_file 3\n") == 77);
  CHECK_FALSE(parse_inactive_file("anon 1\nfile 2\n"));
  CHECK_FALSE(parse_inactive_file("inactive_file many\n"));
  CHECK_FALSE(parse_inactive_file("total_inactive_file \ninactive_file 1\n"));
}

TEST_CASE("memory kills of both versions") {
  CHECK(*parse_oom_kills("low 0\nhigh 0\nmax 812\noom 4\noom_kill 2\noom_group_kill 0\n") == 2);
  CHECK(*parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") == 3);
  CHECK_FALSE(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n"));
}

TEST_CASE("populated") {
  CHECK(*parse_populated("populated 1\nfrozen 0\n"));
  CHECK_FALSE(*parse_populated("populated 0\nfrozen 0\n"));
  CHECK_FALSE(parse_populated("frozen 0\n").has_value());
}

TEST_CASE("process lists") {
  CHECK(parse_processes("")->empty());
  CHECK(*parse_processes("12\n0\n345\n") == std::vector<pid_t>{12, 0, 345});
  CHECK_FALSE(parse_processes("12\nx\n"));
  CHECK_FALSE(parse_processes("-12\n"));
  CHECK_FALSE(parse_processes("99999999999\n"));
}

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
