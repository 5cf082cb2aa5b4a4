// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/kernel_files.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <chrono>

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

TEST_CASE("memory.stat: v1 counts the groups below in lines of their own, v2 always does") {
  const auto v1 = parse_memory_stat(
      "cache 10\npgfault 1\npgmajfault 2\ninactive_file 5\nactive_file 1\ntotal_cache 99\ntotal_pgfault 400\n"
      "total_pgmajfault 30\ntotal_inactive_file 50\n");
  REQUIRE(v1);
  CHECK(v1->inactive_file == 50);
  CHECK(v1->page_faults == 400);
  CHECK(v1->major_page_faults == 30);

  const auto v2 = parse_memory_stat("anon 1\nfile 2\ninactive_file 77\nactive_file 3\npgfault 4711\npgmajfault 12\n");
  REQUIRE(v2);
  CHECK(v2->inactive_file == 77);
  CHECK(v2->page_faults == 4711);
  CHECK(v2->major_page_faults == 12);

  for (const auto* text : {"", "anon 1\npgfault 1\npgmajfault 1\n", "inactive_file 1\npgmajfault 1\n",
                           "inactive_file 1\npgfault 1\n", "inactive_file many\npgfault 1\npgmajfault 1\n",
                           "total_inactive_file \ninactive_file 1\npgfault 1\npgmajfault 1\n",
                           "inactive_file 1\npgfault -1\npgmajfault 1\n"}) {
    INFO(text);
    CHECK_FALSE(parse_memory_stat(text));
  }
}

TEST_CASE("pressure: the totals of both lines, in microseconds") {
  const auto both = parse_pressure(
      "some avg10=4.17 avg60=7.70 avg300=23.75 total=18022534188\n"
      "full avg10=0.00 avg60=0.00 avg300=0.00 total=4711\n");
  REQUIRE(both);
  CHECK(both->some == std::chrono::microseconds(18022534188));
  CHECK(both->full == std::chrono::microseconds(4711));

  const auto cpu_of_old = parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=17\n");
  REQUIRE(cpu_of_old);
  CHECK(cpu_of_old->some == std::chrono::microseconds(17));
  CHECK(cpu_of_old->full == std::chrono::microseconds(0));

  for (const auto* text :
       {"", "\n", "full avg10=0.00 total=1\n", "some avg10=0.00 avg60=0.00 avg300=0.00\n", "some total=\n",
        "some total=-1\n", "some total=1.5\n", "some avg10=0.00 totals=1\n", "some total=1\nfull total=x\n", "some"}) {
    INFO(text);
    CHECK_FALSE(parse_pressure(text));
  }
  CHECK(parse_pressure("full total=1\n").error().message.find("full total=1") != std::string::npos);
}

TEST_CASE("the working set is never below zero") {
  CHECK(working_set({.memory = Bytes{100}}, Bytes{30}) == Bytes{70});
  CHECK(working_set({.memory = Bytes{100}}, Bytes{130}) == Bytes{0});
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

TEST_CASE("frozen, of both versions") {
  CHECK(*parse_frozen("populated 1\nfrozen 1\n"));
  CHECK_FALSE(*parse_frozen("populated 1\nfrozen 0\n"));
  CHECK_FALSE(parse_frozen("populated 1\n").has_value());
  CHECK(*parse_freezer_state("FROZEN\n"));
  CHECK_FALSE(*parse_freezer_state("FREEZING\n"));
  CHECK_FALSE(*parse_freezer_state("THAWED\n"));
  for (const auto* text : {"", "frozen\n", "FROZEN \n"}) CHECK_FALSE(parse_freezer_state(text).has_value());
}

TEST_CASE("limits that may be \"max\"") {
  CHECK(parse_max_file("max\n")->has_value() == false);
  CHECK(**parse_max_file("4096\n") == 4096);
  for (const auto* text : {"", "maximum\n", "-1\n", "4096 max\n"}) CHECK_FALSE(parse_max_file(text).has_value());

  CHECK(parse_cpu_max("max 100000\n")->quota_us == 0);
  CHECK(parse_cpu_max("8000 20000\n")->quota_us == 8000);
  CHECK(parse_cpu_max("8000 20000\n")->period_us == 20000);
  for (const auto* text : {"", "8000\n", "8000 0\n", "max max\n", "8000 20000 1\n", "-1 20000\n"}) {
    INFO(text);
    CHECK_FALSE(parse_cpu_max(text).has_value());
  }
}

TEST_CASE("process lists") {
  CHECK(parse_processes("")->empty());
  CHECK(*parse_processes("12\n0\n345\n") == std::vector<pid_t>{12, 0, 345});
  CHECK_FALSE(parse_processes("12\nx\n"));
  CHECK_FALSE(parse_processes("-12\n"));
  CHECK_FALSE(parse_processes("99999999999\n"));
}
