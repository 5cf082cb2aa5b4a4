// SPDX-License-Identifier: Apache-2.0
// On the machine's own hierarchy; needs privilege, and is skipped with a message without.
#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "cgroup/support/real_machine.hpp"
#include "support/catch.hpp"

#include <array>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST_CASE("limits reach the kernel, and removing leaves nothing") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  {
    auto group = machine->create("high", {.cpus = 0.6_cpu, .memory = 512_MiB});
    REQUIRE(group);
    for (const auto& tree : machine->hierarchy.trees()) {
      const auto value = [&](std::string_view file) {
        return detail::read_file(detail::join(tree.folder(group->path()), file)).value();
      };
      if (tree.has(Controller::Cpu)) {
        if (tree.version == 1) CHECK(value(files::cpu_quota) == "12000\n");
        if (tree.version == 2) CHECK(value(files::cpu_max) == "12000 20000\n");
      }
      if (tree.has(Controller::Memory)) {
        CHECK(value(tree.version == 1 ? files::memory_limit : files::memory_max) == "536870912\n");
      }
    }
    for (const auto& limits :
         {Limits{.cpus = 0.1_cpu, .memory = 64_MiB, .cpu_period = 100ms},
          Limits{.cpus = 2.0_cpu, .memory = 1_GiB, .cpu_period = 5ms}, Limits{.cpus = 0.01_cpu}, Limits{}}) {
      CHECK(group->set_limits(limits));
    }
    CHECK(machine->left().size() == machine->hierarchy.trees().size());
  }
  CHECK(machine->left().empty());
}

TEST_CASE("a busy child gets its quota and no more") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto node = machine->create("low", {.cpus = 0.3_cpu});
  REQUIRE(node);
  auto worker = machine->create("low/worker-1");
  REQUIRE(worker);
  const Child child(spin);
  REQUIRE(worker->attach(child.pid()));
  const auto start = Clock::now();
  const auto before = node->read().value();
  child.go();
  auto after = before;
  while (after.cpu_time - before.cpu_time < 300ms) {
    ::usleep(1000);
    after = node->read().value();
  }
  // A CPU that is late to stop the child (it may itself be virtual) lends it time, which the child has paid back before
  // it runs again; so the time that has passed counts from when it has been stopped twice more.
  while (node->read()->nr_throttled < after.nr_throttled + 2) ::usleep(1000);
  const std::chrono::duration<double> wall = Clock::now() - start;
  const std::chrono::duration<double> used = after.cpu_time - before.cpu_time;
  INFO("used " << used.count() << " s of CPU in " << wall.count() << " s");
  // The quota of the first period, 6 ms, is there at the start.
  CHECK(used.count() <= 1.02 * 0.3 * wall.count() + 0.006);
  CHECK(after.nr_throttled > before.nr_throttled);
  CHECK(after.throttled_time > before.throttled_time);
  CHECK(worker->read()->cpu_time > 200ms);
  CHECK(worker->read()->nr_throttled == 0);
}

TEST_CASE("a child that exceeds the node's memory is killed, and the kill is counted") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto node = machine->create("low", {.memory = 48_MiB});
  REQUIRE(node);
  auto worker = machine->create("low/worker-1");
  REQUIRE(worker);
  Child child([] { return use_memory(256U << 20U) ? 0 : 1; });
  REQUIRE(worker->attach(child.pid()));
  CHECK(worker->read_details()->oom_kills == 0);
  child.go();
  const int status = child.wait();
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(worker->read_details()->oom_kills == 1);
  const auto details = node->read_details().value();
  CHECK(details.memory_peak > 40_MiB);
  CHECK(details.memory_peak <= 48_MiB);
}

TEST_CASE("attaching moves every thread, in every tree") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto group = machine->create("high");
  REQUIRE(group);
  const Signal ready;
  const Child child([&] {
    std::array<std::thread, 5> threads;
    for (auto& thread : threads) thread = std::thread(sleep_forever);
    if (!ready.give()) return 1;
    return sleep_forever();
  });
  child.go();
  ready.wait();
  REQUIRE(group->attach(child.pid()));
  const auto threads = detail::subfolders(fmt::format("/proc/{}/task", child.pid()));
  CHECK(threads.size() >= 6);  // ThreadSanitizer adds one of its own.
  for (const auto& thread : threads) {
    const auto text = detail::read_file(fmt::format("/proc/{}/task/{}/cgroup", child.pid(), thread)).value();
    std::size_t inside = 0;
    for (const auto& own : parse_own_groups(text).value()) inside += own.path.ends_with(group->path()) ? 1U : 0U;
    CHECK(inside == machine->hierarchy.trees().size());
  }
  CHECK(group->processes().value() == std::vector<pid_t>{child.pid()});
}

TEST_CASE("a process that is gone cannot be attached") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto group = machine->create("high");
  REQUIRE(group);
  Child child([] { return 0; });
  const auto pid = child.pid();
  child.go();
  child.wait();
  CHECK(group->attach(pid).error().code == Errc::CgroupFailed);
}

TEST_CASE("killing empties the group, forks and groups below included") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto node = machine->create("high");
  REQUIRE(node);
  auto worker = machine->create("high/worker-1");
  REQUIRE(worker);
  const Signal ready;
  Child child([&] {
    for (int i = 0; i < 10; ++i) {
      if (::fork() == 0) break;
    }
    if (!ready.give()) return 1;
    return sleep_forever();
  });
  REQUIRE(worker->attach(child.pid()));
  child.go();
  for (int i = 0; i < 11; ++i) ready.wait();
  CHECK(node->processes()->size() == 11);
  CHECK(node->kill_all());
  CHECK(node->processes()->empty());
  CHECK(WTERMSIG(child.wait()) == SIGKILL);
  CHECK(node->remove());
  CHECK(machine->left().empty());
}

TEST_CASE("removing a group with live processes kills them instead of freeing them") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  Child child(sleep_forever);
  {
    auto group = machine->create("high");
    REQUIRE(group);
    REQUIRE(group->attach(child.pid()));
  }
  CHECK(WTERMSIG(child.wait()) == SIGKILL);
  CHECK(machine->left().empty());
}

TEST_CASE("a forked copy of a group is inert") {
  const auto machine = real_machine(0);
  if (!machine) return;
  auto group = machine->create("high");
  REQUIRE(group);
  Child child([&] {
    const bool refused = !group->remove();
    { const Group dies = std::move(*group); }
    return refused && !machine->left().empty() ? 0 : 1;
  });
  child.go();
  CHECK(child.wait() == 0);
  CHECK(group->read());
}

TEST_CASE("a reading fails once the group is gone") {
  const auto machine = real_machine(0);
  if (!machine) return;
  auto host = Group::create(machine->hierarchy, machine->host, {}, machine->backend);
  REQUIRE(host);
  const auto group = machine->create("high");
  REQUIRE(group);
  REQUIRE(group->read());
  REQUIRE(host->remove());
  CHECK(group->read().error().code == Errc::CgroupFailed);
}

TEST_CASE("without privilege the error says so") {
  if (::geteuid() != 0 || !real_machine(0)) return;
  Child child([] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 1;
    const auto hierarchy = Hierarchy::detect();
    if (!hierarchy) return 2;
    if (hierarchy->check(Controller::Memory).error().code != Errc::PermissionDenied) return 3;
    const auto group = Group::create(*hierarchy, host_group_name().value(), {.memory = 1_GiB});
    if (group || group.error().code != Errc::PermissionDenied) return 4;
    return remove_stale_groups(*hierarchy) ? 0 : 5;
  });
  child.go();
  CHECK(WEXITSTATUS(child.wait()) == 0);
}

TEST_CASE("the real v2 files: accounting, kill, populated") {
  const auto mounts = parse_mounts(detail::read_file("/proc/self/mountinfo").value()).value();
  for (const auto& mount : mounts) {
    if (mount.version != 2 || !detail::writable(mount.mount_point)) continue;
    const Tree tree{2, mount.mount_point, "", "", {Controller::CpuAccounting}, {}};
    const Hierarchy hierarchy(Hierarchy::Kind::V2, {tree});
    const auto host = host_group_name().value();
    auto group = Group::create(hierarchy, host + "/high");
    REQUIRE(group);
    Child child(spin);
    REQUIRE(group->attach(child.pid()));
    child.go();
    while (group->read().value().cpu_time < 20ms) ::usleep(1000);
    CHECK(group->kill_all());
    CHECK(WTERMSIG(child.wait()) == SIGKILL);
    CHECK(group->remove());
    CHECK_FALSE(detail::exists(tree.folder(host)));
    return;
  }
  WARN("skipped: no writable v2 hierarchy");
}

TEST_CASE("pure v2: what was enabled in a group that is not ours is disabled with our last group") {
  const auto machine = real_machine(0);
  if (!machine) return;
  const auto& trees = machine->hierarchy.trees();
  if (machine->hierarchy.kind() != Hierarchy::Kind::V2) {
    WARN("skipped: the v2 tree of this machine has no controllers to enable");
    return;
  }
  const auto opener = machine->create("opener");  // so that the base hands its controllers on
  REQUIRE(opener);
  // A group of somebody else's, with controllers of which it hands none on yet.
  const std::string foreign = fmt::format("/someone-{}", ::getpid());
  auto tree = trees.front();
  tree.base += foreign;
  REQUIRE(::mkdir(tree.folder("").c_str(), 0755) == 0);
  const auto enabled = [&] { return detail::read_file(tree.folder("") + "/cgroup.subtree_control").value(); };
  CHECK(enabled().empty());
  {
    const Hierarchy hierarchy(Hierarchy::Kind::V2, {tree});
    auto node = Group::create(hierarchy, machine->host + "/high", {.cpus = 0.5_cpu, .memory = 64_MiB});
    CHECK(node);
    CHECK(Group::create(hierarchy, machine->host + "/low"));
    CHECK(enabled() == "cpu memory\n");
  }
  CHECK(enabled().empty());
  CHECK(::rmdir(tree.folder("").c_str()) == 0);
}

TEST_CASE("the default backend fits the hierarchy") {
  const auto hierarchy = Hierarchy::detect().value();
  const auto backend = default_backend(hierarchy);
  REQUIRE(backend);
  CHECK(backend->name() == (libcgroup_backend(hierarchy) ? "libcgroup" : "native"));
  CHECK(libcgroup_backend(Hierarchy(Hierarchy::Kind::V2, {Tree{2, "/sys/fs/cgroup", "", "", {}, {}}})).error().code ==
        Errc::NotSupported);
}
