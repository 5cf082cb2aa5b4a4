// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/built_machine.hpp"
#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <limits>

#include <sys/wait.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;

TEST_CASE("v1: limits are written in the order that the kernel accepts") {
  const Machine machine(build_v1);
  {
    auto group = machine.create("amp4ec-1-2/high", {.cpus = 0.4_cpu, .memory = 512_MiB});
    REQUIRE(group);
    CHECK(machine.kernel->log == Log{"create amp4ec-1-2", "create amp4ec-1-2/high",  // memory
                                     "create amp4ec-1-2", "create amp4ec-1-2/high",  // cpu,cpuacct
                                     "amp4ec-1-2/high cpu.cfs_quota_us=-1", "amp4ec-1-2/high cpu.cfs_period_us=20000",
                                     "amp4ec-1-2/high cpu.cfs_quota_us=8000",
                                     "amp4ec-1-2/high memory.limit_in_bytes=536870912",
                                     "amp4ec-1-2/high memory.memsw.limit_in_bytes=536870912"});
    machine.kernel->log.clear();
    REQUIRE(group->set_limits({.cpus = 0.2_cpu, .memory = 1_GiB}));
    CHECK(machine.kernel->log == Log{"amp4ec-1-2/high cpu.cfs_quota_us=-1", "amp4ec-1-2/high cpu.cfs_period_us=20000",
                                     "amp4ec-1-2/high cpu.cfs_quota_us=4000",
                                     "amp4ec-1-2/high memory.memsw.limit_in_bytes=1073741824",
                                     "amp4ec-1-2/high memory.limit_in_bytes=1073741824"});
    CHECK(group->limits() == Limits{.cpus = 0.2_cpu, .memory = 1_GiB});

    machine.kernel->log.clear();
    REQUIRE(group->set_limits(group->limits()));
    CHECK(machine.kernel->log.empty());

    REQUIRE(group->set_limits({}));
    CHECK(machine.kernel->log == Log{"amp4ec-1-2/high cpu.cfs_quota_us=-1", "amp4ec-1-2/high cpu.cfs_period_us=20000",
                                     "amp4ec-1-2/high memory.memsw.limit_in_bytes=-1",
                                     "amp4ec-1-2/high memory.limit_in_bytes=-1"});
  }
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("v1 without swap accounting limits memory alone") {
  const Machine machine(build_v1);
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  std::filesystem::remove(machine.root.path() + "/cg/memory/host/amp4ec-1-2/memory.memsw.limit_in_bytes");
  machine.kernel->log.clear();
  REQUIRE(group->set_limits({.memory = 1_MiB}));
  CHECK(machine.kernel->log == Log{"amp4ec-1-2 memory.limit_in_bytes=1048576"});
}

TEST_CASE("swap that the kernel does not count cannot be limited, and memory stays as it was") {
  const Machine machine(GENERATE(build_v1, build_v2_root));
  const bool v2 = machine.hierarchy.kind() == Hierarchy::Kind::V2;
  auto group = machine.create("amp4ec-1-2", {.memory = 1_MiB});
  REQUIRE(group);
  const std::string folder = machine.root.path() + (v2 ? "/cg/amp4ec-1-2/" : "/cg/memory/host/amp4ec-1-2/");
  std::filesystem::remove(folder + (v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes"));
  const auto set = group->set_limits({.memory = 2_MiB, .swap = 1_MiB});
  REQUIRE_FALSE(set);
  CHECK(set.error().code == Errc::CgroupUnavailable);
  CHECK(set.error().message.find(v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes") != std::string::npos);
  CHECK(group->limits() == Limits{.memory = 1_MiB});
}

TEST_CASE("v2: controllers are handed down through our own groups, limits are one write each") {
  const Machine machine(build_v2);
  {
    auto node = machine.create("amp4ec-1-2/low", {.cpus = 0.4_cpu, .memory = 512_MiB});
    REQUIRE(node);
    auto worker = machine.create("amp4ec-1-2/low/worker-1");
    REQUIRE(worker);
    CHECK(machine.kernel->log == Log{"create amp4ec-1-2", "amp4ec-1-2 cgroup.subtree_control=+cpu +memory",
                                     "create amp4ec-1-2/low", "amp4ec-1-2/low cpu.max=8000 20000",
                                     "amp4ec-1-2/low memory.swap.max=0", "amp4ec-1-2/low memory.max=536870912",
                                     "amp4ec-1-2/low cgroup.subtree_control=+cpu +memory",
                                     "create amp4ec-1-2/low/worker-1"});
    machine.kernel->log.clear();
    REQUIRE(node->set_limits({}));
    CHECK(machine.kernel->log == Log{"amp4ec-1-2/low cpu.max=max 20000", "amp4ec-1-2/low memory.swap.max=max",
                                     "amp4ec-1-2/low memory.max=max"});
  }
  CHECK(machine.folders_left() == 0);
  CHECK(machine.root.get("cg/app.slice/cgroup.subtree_control") == "cpu memory\n");
}

TEST_CASE("v2: what was enabled in a group that is not ours is disabled with our last group, and nothing else") {
  const Machine machine(build_v2_root);
  const std::string control = "cg/cgroup.subtree_control";
  machine.root.put(control, "cpu io\n");
  {
    auto high = machine.create("amp4ec-1-2/high");
    auto low = machine.create("amp4ec-1-2/low", {.pids = 9});
    REQUIRE((high && low));
    CHECK(machine.root.get(control) == "cpu io memory pids\n");
    REQUIRE(low->remove());
    CHECK(machine.root.get(control) == "cpu io memory pids\n");  // high still needs memory
  }
  CHECK(machine.root.get(control) == "cpu io\n");
  CHECK(machine.log().back() == " cgroup.subtree_control=-memory -pids");

  SECTION("each time anew") {
    machine.root.put(control, "memory\n");
    REQUIRE(machine.create("amp4ec-1-2/high"));
    CHECK(machine.root.get(control) == "memory\n");
  }
  SECTION("not when others have come, who may use it") {
    auto group = machine.create("amp4ec-1-2");
    REQUIRE(group);
    machine.root.put("cg/other.slice/cgroup.procs", "");
    REQUIRE(group->remove());
    CHECK(machine.root.get(control) == "cpu io memory\n");
    // They have gone, and what we enabled then is still known.
    std::filesystem::remove_all(machine.root.path() + "/cg/other.slice");
    REQUIRE(machine.create("amp4ec-1-2"));
    CHECK(machine.root.get(control) == "cpu io\n");
  }
  SECTION("what others have disabled meanwhile stays so") {
    auto group = machine.create("amp4ec-1-2");
    REQUIRE(group);
    machine.root.put(control, "cpu\n");
    (void)machine.log();
    REQUIRE(group->remove());
    CHECK(machine.log() == Log{"remove amp4ec-1-2"});
  }
  SECTION("after a group that could not be made, too") {
    machine.kernel->fail_on = "memory.max";
    CHECK_FALSE(machine.create("amp4ec-1-2", {.memory = 1_MiB}));
    CHECK(machine.root.get(control) == "cpu io\n");
    machine.kernel->fail_on.clear();
    machine.kernel->fail_below = "/cg";
    CHECK_FALSE(machine.create("amp4ec-1-2/low"));
    CHECK(machine.root.get(control) == "cpu io\n");
  }
}

TEST_CASE("small quotas stretch the period, since the kernel grants at least 1 ms") {
  CHECK(detail::cpu_quota({.cpus = 1.0_cpu}).quota_us == 20'000);
  CHECK(detail::cpu_quota({.cpus = 2.5_cpu, .cpu_period = 10ms}).quota_us == 25'000);
  const auto small = detail::cpu_quota({.cpus = 0.01_cpu});
  CHECK(small.period_us == 100'000);
  CHECK(small.quota_us == 1'000);
  const auto smallest = detail::cpu_quota({.cpus = 0.001_cpu});
  CHECK(smallest.period_us == 1'000'000);
  CHECK(smallest.quota_us == 1'000);
}

TEST_CASE("usage is read from both versions") {
  const auto build = GENERATE(build_v1, build_v2, build_hybrid);
  const Machine machine(build);
  const auto group = machine.create("amp4ec-1-2/high/worker-1");
  REQUIRE(group);
  const auto usage = group->read();
  REQUIRE(usage);
  CHECK(usage->cpu_time == 2000us);
  CHECK(usage->throttled_time == 300us);
  CHECK(usage->nr_throttled == 2);
  CHECK(usage->memory == Bytes{1'000'000});
  CHECK(usage->cpu_known);
  CHECK(usage->memory_known);

  const auto details = group->read_details();
  REQUIRE(details);
  CHECK(details->memory_peak == Bytes{1'500'000});
  CHECK(details->oom_kills == 1);
  CHECK(details->inactive_file == Bytes{400'000});
  CHECK(working_set(*usage, details->inactive_file) == Bytes{600'000});
  CHECK(details->page_faults == 900);
  CHECK(details->major_page_faults == 7);
  const auto pressure = [&](int some, int full) {
    return build != build_v1 ? std::pair{some * 1us, full * 1us} : std::pair{0us, 0us};  // v1 has none
  };
  CHECK(details->pressure_known == (build != build_v1));
  CHECK(details->memory_peak_known);
  CHECK(details->oom_kills_known);
  CHECK(details->memory_stat_known);
  CHECK(std::pair{details->cpu.some, details->cpu.full} == pressure(11, 0));
  CHECK(std::pair{details->memory.some, details->memory.full} == pressure(12, 2));
  CHECK(std::pair{details->io.some, details->io.full} == pressure(13, 3));
}

TEST_CASE("what a kernel or hierarchy does not count is said to be unknown") {
  // Before Linux 5.19, and without pressure: the file is taken away as soon as the group is there.
  class OldKernel : public PlayedKernel {
   public:
    Result<void> create(const Tree& tree, const std::string& group) override {
      auto made = PlayedKernel::create(tree, group);
      for (const auto file : {files::memory_peak, files::io_pressure}) {
        std::filesystem::remove(detail::join(tree.folder(group), file));
      }
      return made;
    }
  };
  const Machine old(build_v2);
  const auto old_group = Group::create(old.hierarchy, "amp4ec-1-2", {}, std::make_shared<OldKernel>());
  REQUIRE(old_group);
  CHECK_FALSE(old_group->read_details()->memory_peak_known);
  CHECK_FALSE(old_group->read_details()->pressure_known);
  CHECK(old_group->read_details()->oom_kills_known);

  const auto without = [](std::string_view controllers) {
    Machine machine(build_v1);
    machine.root.put("proc/self/cgroup", controllers);
    machine.hierarchy = Hierarchy::detect(machine.root.path()).value();
    const auto group = machine.create("amp4ec-1-2");
    REQUIRE(group);
    return std::pair(group->read().value(), group->read_details().value());
  };
  const auto cpu_only = without("2:cpu,cpuacct:/\n");
  CHECK(cpu_only.first.cpu_known);
  CHECK_FALSE(cpu_only.first.memory_known);
  CHECK_FALSE(cpu_only.second.memory_peak_known);
  CHECK_FALSE(cpu_only.second.oom_kills_known);
  CHECK_FALSE(cpu_only.second.memory_stat_known);
  const auto memory_only = without("3:memory:/host\n");
  CHECK_FALSE(memory_only.first.cpu_known);
  CHECK(memory_only.first.memory_known);
}

TEST_CASE("a reading follows the files, and a malformed file is an error") {
  const Machine machine(build_v2);
  const auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  machine.root.put("cg/app.slice/amp4ec-1-2/memory.current", "2000000\n");
  CHECK(group->read()->memory == Bytes{2'000'000});
  machine.root.put("cg/app.slice/amp4ec-1-2/memory.current", "broken\n");
  REQUIRE_FALSE(group->read());
  CHECK(group->read().error().code == Errc::CgroupFailed);
  REQUIRE(group->read_details());
  machine.root.put("cg/app.slice/amp4ec-1-2/io.pressure", "broken\n");
  CHECK(group->read_details().error().code == Errc::CgroupFailed);
}

TEST_CASE("bad paths and limits are refused before anything is made") {
  const Machine machine(build_v1);
  for (const auto* path : {"", "high", "/amp4ec-1", "amp4ec-1/", "amp4ec-1//a", "amp4ec-1/..", "amp4ec-1/./a",
                           "amp4ec-1/a b", "amp4ec-1/../../system.slice"}) {
    INFO(path);
    const auto group = machine.create(path);
    REQUIRE_FALSE(group);
    CHECK(group.error().code == Errc::InvalidArgument);
  }
  for (const auto& limits : {Limits{.cpus = Cpus{-1}}, Limits{.cpus = Cpus{0.0001}},
                             Limits{.cpus = Cpus{std::numeric_limits<double>::quiet_NaN()}},
                             Limits{.cpu_period = 500us}, Limits{.cpu_period = 2s}}) {
    const auto group = machine.create("amp4ec-1", limits);
    REQUIRE_FALSE(group);
    CHECK(group.error().code == Errc::InvalidArgument);
  }
  CHECK(machine.kernel->log.empty());
}

TEST_CASE("a group that is there is not taken over, nor removed") {
  const Machine machine(build_v1);
  machine.root.put("cg/cpu,cpuacct/amp4ec-1-2/high/cgroup.procs", "");
  const auto group = machine.create("amp4ec-1-2/high");
  REQUIRE_FALSE(group);
  CHECK(group.error().code == Errc::CgroupFailed);
  CHECK(machine.root.has("cg/cpu,cpuacct/amp4ec-1-2/high/cgroup.procs"));
  CHECK_FALSE(machine.root.has("cg/memory/host/amp4ec-1-2"));
}

TEST_CASE("a limit that fails leaves nothing behind") {
  const Machine machine(build_v1);
  machine.kernel->fail_on = GENERATE("cpu.cfs_period_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
  CHECK_FALSE(machine.create("amp4ec-1-2/high", {.cpus = 1.0_cpu, .memory = 1_GiB}));
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("a controller that v2 refuses to hand down leaves nothing behind and says why") {
  const Machine machine(build_v2);
  machine.kernel->fail_on = "cgroup.subtree_control";
  const auto group = machine.create("amp4ec-1-2/high");
  REQUIRE_FALSE(group);
  CHECK(group.error().message.find("lowest groups") != std::string::npos);
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("limits without their controller are refused; the group itself works") {
  const Machine machine([](const TempFolder& root) {
    build_v1(root);
    root.put("proc/self/cgroup", "3:memory:/host\n");
  });
  const auto limited = machine.create("amp4ec-1-2", {.cpus = 1.0_cpu});
  REQUIRE_FALSE(limited);
  CHECK(limited.error().code == Errc::CgroupUnavailable);
  auto group = machine.create("amp4ec-1-2", {.memory = 1_GiB});
  REQUIRE(group);
  CHECK(group->has(Controller::Memory));
  CHECK_FALSE(group->has(Controller::Cpu));
  CHECK(group->set_limits({.cpus = 1.0_cpu, .memory = 1_GiB}).error().code == Errc::CgroupUnavailable);
  CHECK(group->read()->cpu_time == 0us);
  CHECK(group->read()->memory == Bytes{1'000'000});
}

TEST_CASE("parents made in passing go with their last child, owned ones with their owner") {
  const Machine machine(build_v1);
  {
    auto high = machine.create("amp4ec-1-2/high");
    auto low = machine.create("amp4ec-1-2/low");
    REQUIRE((high && low));
    REQUIRE(high->remove());
    CHECK(machine.root.has("cg/memory/host/amp4ec-1-2/low"));
    REQUIRE(low->remove());
    CHECK(machine.folders_left() == 0);
  }
  auto host = machine.create("amp4ec-1-2");
  REQUIRE(host);
  auto high = machine.create("amp4ec-1-2/high");
  REQUIRE(high->remove());
  CHECK(machine.root.has("cg/memory/host/amp4ec-1-2"));
  high = machine.create("amp4ec-1-2/high");
  REQUIRE(host->remove());  // takes its children along
  CHECK(machine.folders_left() == 0);
  CHECK(high->remove());
}

TEST_CASE("a group moves, and an empty one does nothing") {
  const Machine machine(build_v1);
  auto first = machine.create("amp4ec-1-2/a");
  auto second = machine.create("amp4ec-1-2/b");
  REQUIRE((first && second));
  *first = std::move(*second);
  CHECK(first->path() == "amp4ec-1-2/b");
  CHECK_FALSE(machine.root.has("cg/memory/host/amp4ec-1-2/a"));
  CHECK(machine.root.has("cg/memory/host/amp4ec-1-2/b"));
  CHECK(second->read().error().code == Errc::CgroupFailed);  // NOLINT: the moved-from state is the subject
  CHECK(second->attach(1).error().code == Errc::CgroupFailed);
  CHECK(second->set_limits({.cpus = 1.0_cpu}).error().code == Errc::CgroupFailed);
  CHECK(second->kill_all());
  CHECK(second->remove());
}

TEST_CASE("attach writes the process id into every tree, and refuses what is none") {
  const Machine machine(build_v1);
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  REQUIRE(group->attach(4711));
  CHECK(machine.root.get("cg/memory/host/amp4ec-1-2/cgroup.procs") == "4711\n");
  CHECK(machine.root.get("cg/cpu,cpuacct/amp4ec-1-2/cgroup.procs") == "4711\n");
  CHECK(group->processes().value() == std::vector<pid_t>{4711});
  CHECK(group->attach(0).error().code == Errc::InvalidArgument);  // to the kernel it would mean the caller
  CHECK(group->attach(-1).error().code == Errc::InvalidArgument);
  machine.root.put("cg/memory/host/amp4ec-1-2/cgroup.procs", "");
  machine.root.put("cg/cpu,cpuacct/amp4ec-1-2/cgroup.procs", "");
}

TEST_CASE("killing is bounded in time, spares the caller and never signals process 0") {
  const Machine machine(build_v1);
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  const std::string file = "cg/memory/host/amp4ec-1-2/cgroup.procs";
  machine.root.put(file, "0\n");
  const auto stuck = group->kill_all(5ms);
  REQUIRE_FALSE(stuck);
  CHECK(stuck.error().code == Errc::CgroupFailed);
  CHECK_FALSE(group->remove(5ms));
  CHECK(machine.root.has(file));

  machine.root.put(file, fmt::format("{}\n", ::getpid()));
  const auto self = group->kill_all(5ms);
  REQUIRE_FALSE(self);
  CHECK(self.error().message.find("calling process") != std::string::npos);

  machine.root.put(file, "");
  CHECK(group->remove());
  CHECK(machine.folders_left() == 0);
}

TEST_CASE("a process that was in the group and is not any more is not killed") {
  const TempFolder root;
  const Child left(sleep_forever);
  const Child inside(sleep_forever);
  Child ended([] { return 0; });
  const auto gone = ended.pid();
  ended.go();
  REQUIRE(ended.wait() == 0);
  root.put("group/worker-1/cgroup.procs", fmt::format("{}\n{}\n", inside.pid(), gone));
  root.put("group/cgroup.procs", "");
  const Tree tree{1, root.path(), "", "", {Controller::Memory}, {}};
  detail::kill_once(*native_backend(), {{&tree, {left.pid(), inside.pid(), gone}}}, "group");
  siginfo_t info{};
  CHECK(::waitid(P_PID, static_cast<id_t>(inside.pid()), &info, WEXITED | WNOWAIT) == 0);
  CHECK(info.si_status == SIGKILL);
  CHECK(::waitid(P_PID, static_cast<id_t>(left.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0);
  CHECK(info.si_pid != left.pid());
}

TEST_CASE("v2 kills by cgroup.kill and believes cgroup.events") {
  const Machine machine(build_v2);
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  machine.root.put("cg/app.slice/amp4ec-1-2/cgroup.events", "populated 1\nfrozen 0\n");
  REQUIRE_FALSE(group->kill_all(5ms));
  CHECK(machine.root.get("cg/app.slice/amp4ec-1-2/cgroup.kill") == "1");
  machine.root.put("cg/app.slice/amp4ec-1-2/cgroup.events", "populated 0\nfrozen 0\n");
  CHECK(group->kill_all());
}

TEST_CASE("freezing waits for the kernel's word, in the v2 tree where there is one") {
  const Machine machine(GENERATE(build_v2_root, build_hybrid));
  const std::string tree = machine.hierarchy.kind() == Hierarchy::Kind::V2 ? "cg" : "cg/unified";
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  CHECK(group->has(Controller::Freezer));
  REQUIRE(group->freeze());
  CHECK(machine.root.get(tree + "/amp4ec-1-2/cgroup.freeze") == "1\n");
  REQUIRE(group->thaw());
  CHECK(machine.root.get(tree + "/amp4ec-1-2/cgroup.freeze") == "0\n");

  machine.kernel->freezes = false;
  const auto stuck = group->freeze(5ms);
  REQUIRE_FALSE(stuck);
  CHECK(stuck.error().code == Errc::CgroupFailed);
  CHECK(machine.root.get(tree + "/amp4ec-1-2/cgroup.freeze") == "0\n");  // runs again
}

TEST_CASE("freezing falls back to v1's freezer, and says where there is none") {
  const Machine machine(build_hybrid);
  machine.kernel->fail_below = "/unified";
  auto group = machine.create("amp4ec-1-2");
  REQUIRE(group);
  CHECK(group->has(Controller::Freezer));
  const std::string file = "cg/freezer/amp4ec-1-2/freezer.state";
  REQUIRE(group->freeze());
  CHECK(machine.root.get(file) == "FROZEN\n");
  REQUIRE(group->thaw());
  CHECK(machine.root.get(file) == "THAWED\n");
  machine.kernel->freezes = false;
  CHECK_FALSE(group->freeze(5ms));
  CHECK(machine.root.get(file) == "THAWED\n");

  machine.root.put("cg/cpu,cpuacct/amp4ec-1-2/cgroup.procs", "0\n");  // something to kill that never dies
  machine.root.put(file, "FROZEN\n");
  CHECK_FALSE(group->kill_all(5ms));
  CHECK(machine.root.get(file) == "FROZEN\n");  // not in the freezer's tree, so not ours to thaw
  machine.root.put("cg/freezer/amp4ec-1-2/cgroup.procs", "0\n");
  CHECK_FALSE(group->kill_all(5ms));
  CHECK(machine.root.get(file) == "THAWED\n");  // a frozen process does not die
  machine.root.put("cg/freezer/amp4ec-1-2/cgroup.procs", fmt::format("{}\n", ::getpid()));
  CHECK(group->freeze(5ms).error().message.find("calling process") != std::string::npos);
  machine.root.put("cg/freezer/amp4ec-1-2/cgroup.procs", "");
  machine.root.put("cg/cpu,cpuacct/amp4ec-1-2/cgroup.procs", "");

  const Machine without(build_v1);
  auto plain = without.create("amp4ec-1-2");
  REQUIRE(plain);
  CHECK_FALSE(plain->has(Controller::Freezer));
  CHECK(plain->freeze().error().code == Errc::CgroupUnavailable);
}
