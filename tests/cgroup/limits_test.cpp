// SPDX-License-Identifier: Apache-2.0
// Every limit on a built tree of each version. Quota and memory alone are in group_test.cpp.
#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/built_machine.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <filesystem>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;

namespace {
const std::string group_path = "amp4ec-1-2";

Limits all_limits() {
  return {.cpus = 0.5_cpu,
          .memory = 64_MiB,
          .cpu_burst = 4ms,
          .cpu_weight = 200,
          .cpuset = {1, 2},
          .memory_high = 32_MiB,
          .swap = 16_MiB,
          .pids = 9};
}
}  // namespace

TEST_CASE("limits are read as the kernel writes them") {
  const TempFolder root;
  const std::string group = "group";
  const Tree v1{1, root.path(), "", "", {}, {}};
  const Tree v2{2, root.path(), "", "", {}, {}};
  const auto quota = [&](const Tree& tree) -> Result<Cpus> {
    Limits limits;
    if (auto read = detail::QuotaLimit::read({tree, group}, limits); !read) return read.error();
    return limits.cpus;
  };
  const auto quota_v2 = [&](std::string_view text) {
    root.put("group/cpu.max", text);
    return quota(v2);
  };
  const auto quota_v1 = [&](std::string_view quota_text, std::string_view period_text) {
    root.put("group/cpu.cfs_quota_us", quota_text);
    root.put("group/cpu.cfs_period_us", period_text);
    return quota(v1);
  };
  const auto memory = [&](std::string_view text) {
    root.put("group/limit", text);
    return detail::read_memory_value({v1, group}, "limit");
  };
  CHECK(quota_v2("20000 50000\n").value() == 0.4_cpu);
  CHECK(quota_v2("max 100000\n").value() == 0_cpu);
  for (const auto* text : {"", "\n", "max\n", "20000\n", "-1 100\n", "1 0\n", "1 100 1\n", "x 100\n"}) {
    INFO(text);
    CHECK(quota_v2(text).error().code == Errc::CgroupFailed);
  }
  CHECK(quota_v1("20000\n", "50000\n").value() == 0.4_cpu);
  CHECK(quota_v1("-1\n", "100000\n").value() == 0_cpu);
  CHECK(quota_v1("20000\n", "0\n").error().code == Errc::CgroupFailed);
  CHECK(memory("536870912\n").value() == 512_MiB);
  CHECK(memory("max\n").value() == 0_B);
  CHECK(memory("9223372036854771712\n").value() == 0_B);
  for (const auto* text : {"", "-1\n", "maximum\n"}) {
    INFO(text);
    CHECK(memory(text).error().code == Errc::CgroupFailed);
  }
}

TEST_CASE("v1: every limit reaches its file, and goes again") {
  const Machine machine(build_hybrid);
  auto group = machine.create(group_path);
  REQUIRE(group);
  (void)machine.log();
  REQUIRE(group->set_limits(all_limits()));
  CHECK(machine.log() ==
        Log{"amp4ec-1-2 cpu.cfs_quota_us=-1", "amp4ec-1-2 cpu.cfs_period_us=20000", "amp4ec-1-2 cpu.cfs_quota_us=10000",
            "amp4ec-1-2 cpu.cfs_burst_us=4000", "amp4ec-1-2 cpu.shares=2048", "amp4ec-1-2 cpuset.cpus=1-2",
            "amp4ec-1-2 memory.limit_in_bytes=67108864", "amp4ec-1-2 memory.memsw.limit_in_bytes=83886080",
            "amp4ec-1-2 memory.soft_limit_in_bytes=33554432", "amp4ec-1-2 pids.max=9"});
  CHECK(group->limits() == all_limits());
  REQUIRE(group->set_limits({}));
  CHECK(machine.log() == Log{"amp4ec-1-2 cpu.cfs_burst_us=0", "amp4ec-1-2 cpu.cfs_quota_us=-1",
                             "amp4ec-1-2 cpu.cfs_period_us=20000", "amp4ec-1-2 cpu.shares=1024",
                             "amp4ec-1-2 cpuset.cpus=0-3", "amp4ec-1-2 memory.memsw.limit_in_bytes=-1",
                             "amp4ec-1-2 memory.limit_in_bytes=-1", "amp4ec-1-2 memory.soft_limit_in_bytes=-1",
                             "amp4ec-1-2 pids.max=max"});
  CHECK(group->limits() == Limits{});
}

TEST_CASE("v2: every limit reaches its file, and goes again; controllers are enabled when they are needed") {
  const Machine machine(build_v2_root);
  auto node = machine.create("amp4ec-1-2/low");
  REQUIRE(node);
  CHECK(machine.root.get("cg/cgroup.subtree_control") == "cpu memory\n");
  (void)machine.log();
  REQUIRE(node->set_limits(all_limits()));
  CHECK(machine.log() == Log{"amp4ec-1-2/low cpu.max=10000 20000", "amp4ec-1-2/low cpu.max.burst=4000",
                             "amp4ec-1-2/low cpu.weight=200", " cgroup.subtree_control=+cpuset",
                             "amp4ec-1-2 cgroup.subtree_control=+cpuset", "amp4ec-1-2/low cpuset.cpus=1-2",
                             "amp4ec-1-2/low memory.swap.max=16777216", "amp4ec-1-2/low memory.max=67108864",
                             "amp4ec-1-2/low memory.high=33554432", " cgroup.subtree_control=+pids",
                             "amp4ec-1-2 cgroup.subtree_control=+pids", "amp4ec-1-2/low pids.max=9"});
  CHECK(node->limits() == all_limits());
  REQUIRE(node->set_limits({}));
  CHECK(machine.log() == Log{"amp4ec-1-2/low cpu.max.burst=0", "amp4ec-1-2/low cpu.max=max 20000",
                             "amp4ec-1-2/low cpu.weight=100", "amp4ec-1-2/low cpuset.cpus=\n",
                             "amp4ec-1-2/low memory.swap.max=max", "amp4ec-1-2/low memory.max=max",
                             "amp4ec-1-2/low memory.high=max", "amp4ec-1-2/low pids.max=max"});
  CHECK(node->limits() == Limits{});
}

TEST_CASE("a quota goes below the burst of before, and back") {
  const Machine machine(GENERATE(build_hybrid, build_v2_root));
  const Limits wide{.cpus = 1.0_cpu, .cpu_burst = 20ms};
  const Limits narrow{.cpus = 0.5_cpu, .cpu_burst = 10ms};
  auto group = machine.create(group_path, wide);
  REQUIRE(group);
  CHECK(group->set_limits(narrow));
  CHECK(group->set_limits(wide));
  CHECK(group->set_limits({.cpus = 0.5_cpu}));
  CHECK(group->limits() == Limits{.cpus = 0.5_cpu});
}

TEST_CASE("v2: swap is lowered before memory; memory goes first only where it grows while swap shrinks") {
  const Machine machine(build_v2_root);
  auto group = machine.create(group_path, {.memory = 64_MiB, .swap = 16_MiB});
  REQUIRE(group);
  const std::string memory = "amp4ec-1-2 memory.max=";
  const std::string swap = "amp4ec-1-2 memory.swap.max=";
  const auto set = [&](Bytes of_memory, Bytes of_swap) {
    (void)machine.log();
    REQUIRE(group->set_limits({.memory = of_memory, .swap = of_swap}));
    CHECK(group->limits() == Limits{.memory = of_memory, .swap = of_swap});
    return machine.log();
  };
  CHECK(set(32_MiB, 8_MiB) == Log{swap + "8388608", memory + "33554432"});
  CHECK(set(16_MiB, 16_MiB) == Log{swap + "16777216", memory + "16777216"});
  CHECK(set(32_MiB, 8_MiB) == Log{memory + "33554432", swap + "8388608"});
  CHECK(set(64_MiB, 16_MiB) == Log{swap + "16777216", memory + "67108864"});
  CHECK(set(0_B, 0_B) == Log{swap + "max", memory + "max"});
}

TEST_CASE("limits that cannot be are refused") {
  const Machine machine(build_hybrid);
  for (const auto& limits : {Limits{.cpu_burst = 1ms}, Limits{.cpus = 0.5_cpu, .cpu_burst = 10001us},
                             Limits{.cpus = 1.0_cpu, .cpu_burst = -1us}, Limits{.cpu_weight = 10001},
                             Limits{.cpuset = {0, 65536}}, Limits{.swap = 1_MiB}, Limits{.pids = 5'000'000},
                             Limits{.memory = Bytes{1ULL << 63U}}, Limits{.memory_high = Bytes{1ULL << 62U}}}) {
    const auto group = machine.create(group_path, limits);
    REQUIRE_FALSE(group);
    CHECK(group.error().code == Errc::InvalidArgument);
  }
  CHECK(machine.kernel->log.empty());
}

TEST_CASE("CPUs that the group above has not are refused, by name, and nothing changes") {
  const Machine machine(GENERATE(build_hybrid, build_v2_root));
  auto group = machine.create(group_path, {.cpuset = {3}});
  REQUIRE(group);
  const auto set = group->set_limits({.cpuset = {3, 4}});
  REQUIRE_FALSE(set);
  CHECK(set.error().code == Errc::InvalidArgument);
  CHECK(set.error().message.find("3-4") != std::string::npos);
  CHECK(set.error().message.find("0-3") != std::string::npos);
  CHECK(group->limits() == Limits{.cpuset = {3}});
}

TEST_CASE("v1: a new group may use what the group above may, in CPUs and memory nodes") {
  const Machine machine(build_hybrid);
  auto node = machine.create("amp4ec-1-2/low", {.cpuset = {0, 2}});
  auto worker = machine.create("amp4ec-1-2/low/worker");
  REQUIRE((node && worker));
  CHECK(machine.root.get("cg/cpuset/amp4ec-1-2/cpuset.cpus") == "0-3\n");
  CHECK(machine.root.get("cg/cpuset/amp4ec-1-2/low/worker/cpuset.cpus") == "0,2\n");
  CHECK(machine.root.get("cg/cpuset/amp4ec-1-2/low/worker/cpuset.mems") == "0\n");
}

TEST_CASE("v1: groups below follow a narrower list of CPUs, and the way back") {
  const Machine machine(build_hybrid);
  auto node = machine.create("amp4ec-1-2/low");
  auto free = machine.create("amp4ec-1-2/low/free");
  auto bound = machine.create("amp4ec-1-2/low/bound", {.cpuset = {1, 2}});
  REQUIRE((node && free && bound));
  const auto cpus = [&](const std::string& group) {
    return machine.root.get("cg/cpuset/amp4ec-1-2/low" + group + "/cpuset.cpus");
  };
  (void)machine.log();
  REQUIRE(node->set_limits({.cpuset = {2, 3}}));
  auto log = machine.log();
  std::sort(log.begin(), log.end() - 1);  // the order of the groups below is the folder's
  CHECK(log == Log{"amp4ec-1-2/low/bound cpuset.cpus=2", "amp4ec-1-2/low/free cpuset.cpus=2-3",
                   "amp4ec-1-2/low cpuset.cpus=2-3"});
  REQUIRE(node->set_limits({.cpuset = {0}}));
  log = machine.log();
  CHECK(log.front() == "amp4ec-1-2/low cpuset.cpus=0,2-3");  // the union, so that each step keeps the order
  CHECK(log.back() == "amp4ec-1-2/low cpuset.cpus=0");
  CHECK(cpus("/free") == "0\n");
  CHECK(cpus("/bound") == "0\n");  // as on v2: what it asked for is not to be had
  REQUIRE(node->set_limits({}));
  CHECK(cpus("") == "0-3\n");
  CHECK(cpus("/free") == "0-3\n");
  CHECK(cpus("/bound") == "1-2\n");
  CHECK(bound->limits() == Limits{.cpuset = {1, 2}});
  REQUIRE(bound->set_limits({}));
  CHECK(cpus("/bound") == "0-3\n");
}

TEST_CASE("after a failed change the limits say what holds") {
  const Machine machine(GENERATE(build_hybrid, build_v2_root));
  const bool v2 = machine.hierarchy.kind() == Hierarchy::Kind::V2;
  const Limits before{.cpus = 0.5_cpu, .memory = 64_MiB};
  auto group = machine.create(group_path, before);
  REQUIRE(group);

  SECTION("the way back works: as before") {
    machine.kernel->fail_on = v2 ? "cpu.max.burst" : "cpu.cfs_burst_us";
    CHECK_FALSE(group->set_limits({.cpus = 0.8_cpu, .memory = 128_MiB, .cpu_burst = 1ms}));
    CHECK(group->limits() == before);
    const std::string file = v2 ? "cg/amp4ec-1-2/cpu.max" : "cg/cpu,cpuacct/amp4ec-1-2/cpu.cfs_quota_us";
    CHECK(machine.root.get(file) == (v2 ? "10000 20000\n" : "10000\n"));
  }
  SECTION("there is no way back: what the kernel says") {
    machine.kernel->fail_on = v2 ? "memory.swap.max" : "cpu.cfs_period_us";
    CHECK_FALSE(group->set_limits({.cpus = 0.8_cpu, .memory = 128_MiB}));
    CHECK(group->limits() == (v2 ? Limits{.cpus = 0.8_cpu, .memory = 64_MiB} : Limits{.memory = 64_MiB}));
  }
  SECTION("what was changed before the failure stays changed") {
    machine.kernel->fail_on = "pids.max";
    CHECK_FALSE(group->set_limits({.cpus = 0.8_cpu, .memory = 128_MiB, .pids = 3}));
    CHECK(group->limits() == Limits{.cpus = 0.8_cpu, .memory = 128_MiB});
  }
  machine.kernel->fail_on.clear();
  CHECK(group->set_limits(before));
  CHECK(group->limits() == before);
}

TEST_CASE("a controller that is not there fails a group only when a limit needs it") {
  const Machine machine(build_hybrid);
  machine.kernel->fail_below = GENERATE("/pids", "/cpuset", "/freezer", "/unified");
  auto group = machine.create("amp4ec-1-2/low", {.cpus = 0.5_cpu});
  REQUIRE(group);
  CHECK_FALSE(machine.root.has("cg" + machine.kernel->fail_below + "/amp4ec-1-2"));
  CHECK(group->has(Controller::Cpu));
  CHECK(group->has(Controller::Pids) == (machine.kernel->fail_below != "/pids"));
  CHECK(group->has(Controller::Cpuset) == (machine.kernel->fail_below != "/cpuset"));
  if (machine.kernel->fail_below == "/pids") {
    CHECK(group->set_limits({.cpus = 0.5_cpu, .pids = 3}).error().code == Errc::CgroupUnavailable);
    CHECK_FALSE(machine.create("amp4ec-1-2/high", {.pids = 3}));
  }
  CHECK(group->remove());
  CHECK(machine.folders_left() == 0);
  machine.kernel->fail_below = "/memory";
  CHECK_FALSE(machine.create(group_path));
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("a limit that a kernel does not know is unavailable") {
  const Machine machine(build_hybrid);
  auto group = machine.create(group_path, {.cpus = 0.5_cpu});
  REQUIRE(group);
  std::filesystem::remove(machine.root.path() + "/cg/cpu,cpuacct/amp4ec-1-2/cpu.cfs_burst_us");
  CHECK(group->set_limits({.cpus = 0.5_cpu, .cpu_burst = 1ms}).error().code == Errc::CgroupUnavailable);
  CHECK(group->set_limits({.cpus = 0.7_cpu}));
}
