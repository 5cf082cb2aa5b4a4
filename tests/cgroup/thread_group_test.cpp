// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/thread_group.hpp>

#include "cgroup/support/built_machine.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;

namespace {
const std::string path = "amp4ec-threads-1-2/high";

Result<ThreadGroup> create(const Machine& machine, const Limits& limits = {}) {
  return ThreadGroup::create(machine.hierarchy, path, limits, machine.kernel);
}
}  // namespace

TEST_CASE("v1: threads are held in the CPU trees only, and moved back") {
  const Machine machine(build_hybrid);
  machine.root.put("cg/cpu,cpuacct/tasks", "");
  {
    auto group = create(machine, {.cpus = 0.3_cpu, .cpu_weight = 50});
    REQUIRE(group);
    CHECK(machine.log() ==
          Log{"create amp4ec-threads-1-2", "create amp4ec-threads-1-2/high",
              "amp4ec-threads-1-2/high cpu.cfs_quota_us=-1", "amp4ec-threads-1-2/high cpu.cfs_period_us=20000",
              "amp4ec-threads-1-2/high cpu.cfs_quota_us=6000", "amp4ec-threads-1-2/high cpu.shares=512"});
    REQUIRE(group->attach(::gettid()));
    CHECK(machine.log() == Log{fmt::format("amp4ec-threads-1-2/high tasks={}", ::gettid())});
    CHECK(group->read()->throttled_time == 300us);
    CHECK(group->read()->cpu_time == 2000us);
    CHECK_FALSE(machine.root.has("cg/memory/host/amp4ec-threads-1-2"));
    CHECK_FALSE(machine.root.has("cg/unified/amp4ec-threads-1-2"));

    // A file keeps its lines where the kernel would move the thread: the way back never ends, and is said to.
    CHECK_FALSE(group->remove());
    CHECK(machine.root.get("cg/cpu,cpuacct/tasks") == fmt::format("{}", ::gettid()));
    machine.root.put("cg/cpu,cpuacct/amp4ec-threads-1-2/high/tasks", "");
  }
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("v2: a threaded group below the group of this process, with nothing but cpu enabled") {
  const Machine machine(build_v2);
  const std::string own = "cg/app.slice/host.scope";
  machine.root.put(own + "/cgroup.threads", "");
  {
    auto group = create(machine, {.cpus = 0.3_cpu, .cpu_burst = 2ms});
    REQUIRE(group);
    CHECK(machine.log() ==
          Log{" cgroup.subtree_control=+cpu", "create amp4ec-threads-1-2", "amp4ec-threads-1-2 cgroup.type=threaded",
              "amp4ec-threads-1-2 cgroup.subtree_control=+cpu", "create amp4ec-threads-1-2/high",
              "amp4ec-threads-1-2/high cgroup.type=threaded", "amp4ec-threads-1-2/high cpu.max=6000 20000",
              "amp4ec-threads-1-2/high cpu.max.burst=2000"});
    CHECK(machine.root.get(own + "/cgroup.subtree_control") == "cpu\n");
    CHECK(machine.root.get("cg/app.slice/cgroup.subtree_control") == "cpu memory\n");
    REQUIRE(group->attach(::gettid()));
    CHECK(machine.root.get(own + "/amp4ec-threads-1-2/high/cgroup.threads") == fmt::format("{}\n", ::gettid()));
    REQUIRE(group->set_limits({.cpus = 0.6_cpu}));
    CHECK(group->limits() == Limits{.cpus = 0.6_cpu});
    machine.root.put(own + "/amp4ec-threads-1-2/high/cgroup.threads", "");
  }
  CHECK(machine.folders_left() == 0);
  CHECK(machine.root.get(own + "/cgroup.subtree_control") == "\n");
}

TEST_CASE("whether threads can be held is known without making anything") {
  const Machine machine(GENERATE(build_hybrid, build_v2, build_v2_root));
  CHECK(ThreadGroup::check(machine.hierarchy));
  CHECK(machine.log().empty());
  CHECK(ThreadGroup::check(Hierarchy()).error().code == Errc::CgroupUnavailable);
}

TEST_CASE("limits that threads cannot be held to are refused, and so are foreign threads") {
  const Machine machine(build_hybrid);
  for (const auto& limits :
       {Limits{.memory = 1_GiB}, Limits{.memory_high = 1_GiB}, Limits{.cpuset = {0}}, Limits{.pids = 1}}) {
    CHECK(create(machine, limits).error().code == Errc::InvalidArgument);
  }
  CHECK(ThreadGroup::create(machine.hierarchy, "high", {}, machine.kernel).error().code == Errc::InvalidArgument);
  CHECK(machine.log().empty());
  auto group = create(machine);
  REQUIRE(group);
  CHECK(group->set_limits({.memory = 1_GiB}).error().code == Errc::InvalidArgument);
  for (const pid_t thread : {0, -1, 1}) CHECK(group->attach(thread).error().code == Errc::InvalidArgument);
}

TEST_CASE("v2: the kernel's refusal is passed on with the reason, and nothing is left") {
  const Machine machine(build_v2);
  machine.kernel->fail_on = GENERATE("cgroup.type", "cgroup.subtree_control");
  const auto group = create(machine, {.cpus = 0.3_cpu});
  REQUIRE_FALSE(group);
  CHECK(group.error().code == Errc::CgroupFailed);
  CHECK(group.error().message.find("hands no other controllers on") != std::string::npos);
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("v2: without the cpu controller a quota is unavailable, accounting works") {
  const Machine machine([](const TempFolder& root) {
    build_v2(root);
    root.put("cg/app.slice/host.scope/cgroup.controllers", "memory pids\n");
  });
  CHECK(ThreadGroup::check(machine.hierarchy).error().code == Errc::CgroupUnavailable);
  CHECK(create(machine, {.cpus = 0.3_cpu}).error().code == Errc::CgroupUnavailable);
  const auto group = create(machine);
  REQUIRE(group);
  CHECK(group->read()->cpu_time == 2000us);
}

TEST_CASE("a thread group moves, and an empty one does nothing") {
  const Machine machine(build_hybrid);
  auto first = create(machine);
  REQUIRE(first);
  CHECK(create(machine).error().code == Errc::CgroupFailed);  // is there already
  auto second = std::move(*first);
  CHECK(second.path() == path);
  CHECK(first->read().error().code == Errc::CgroupFailed);  // NOLINT: the moved-from state is the subject
  CHECK(first->attach(::gettid()).error().code == Errc::CgroupFailed);
  CHECK(first->set_limits({}).error().code == Errc::CgroupFailed);
  CHECK(first->remove());
  CHECK(second.remove());
  CHECK(machine.folders_left() == 0);
}
