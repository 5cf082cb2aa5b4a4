// SPDX-License-Identifier: Apache-2.0
// On the machine's own hierarchy; needs privilege, and is skipped with a message without.
#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "cgroup/support/real_machine.hpp"
#include "support/catch.hpp"

#include <cerrno>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;

namespace {
/// Without those whose controller or file the machine does not offer.
Limits offered(const RealMachine& machine, const Group& group, Limits limits) {
  for (const auto& tree : machine.hierarchy.trees()) {
    const auto file = tree.version == 2 ? files::memory_swap_max : files::memory_swap_limit;
    if (tree.has(Controller::Memory) && !detail::exists(detail::join(tree.folder(group.path()), file)))
      limits.swap = {};
  }
  if (!machine.hierarchy.check(Controller::Cpuset)) limits.cpuset.clear();
  if (!machine.hierarchy.check(Controller::Pids)) limits.pids = 0;
  return limits;
}

int cpus_of(pid_t process) {
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(::sched_getaffinity(process, sizeof set, &set) == 0);
  return CPU_COUNT(&set);
}
}  // namespace

TEST_CASE("every limit is taken by the kernel, lowered and raised, while a worker runs") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto node = machine->create("high");
  REQUIRE(node);
  auto worker = machine->create("high/worker-1");
  REQUIRE(worker);
  const Child child(spin);
  REQUIRE(worker->attach(child.pid()));
  child.go();
  const auto all_cpus = cpus_of(child.pid());
  const auto wide = offered(*machine, *node,
                            {.cpus = 1.5_cpu,
                             .memory = 128_MiB,
                             .cpu_burst = 20ms,
                             .cpu_weight = 10'000,
                             .memory_high = 64_MiB,
                             .swap = 32_MiB,
                             .pids = 50});
  const auto narrow = offered(*machine, *node,
                              {.cpus = 0.2_cpu,
                               .memory = 48_MiB,
                               .cpu_period = 100ms,
                               .cpu_burst = 1ms,
                               .cpu_weight = 1,
                               .cpuset = {0},
                               .memory_high = 32_MiB,
                               .pids = 5});
  for (int turn = 0; turn < 3; ++turn) {
    REQUIRE(node->set_limits(wide));
    CHECK(cpus_of(child.pid()) == all_cpus);
    REQUIRE(node->set_limits(narrow));
    CHECK(cpus_of(child.pid()) == (narrow.cpuset.empty() ? all_cpus : 1));
    CHECK(node->limits() == narrow);
  }
  REQUIRE(node->set_limits({}));
  CHECK(cpus_of(child.pid()) == all_cpus);
}

TEST_CASE("a group of few processes lets no more be forked") {
#ifdef __SANITIZE_THREAD__
  WARN("skipped: ThreadSanitizer runs a thread of its own in every process, which the group counts");
  return;
#endif
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  if (const auto usable = machine->hierarchy.check(Controller::Pids); !usable) {
    WARN("skipped: " << usable.error().what());
    return;
  }
  auto group = machine->create("low", {.pids = 3});
  REQUIRE(group);
  Child child([] {
    int forked = 0;
    for (;;) {
      const pid_t below = ::fork();
      if (below < 0) break;
      if (below == 0) return sleep_forever();
      ++forked;
    }
    return errno == EAGAIN ? forked : 100;
  });
  REQUIRE(group->attach(child.pid()));
  child.go();
  CHECK(WEXITSTATUS(child.wait()) == 2);
}

TEST_CASE("a frozen group stands still, goes on, and can be killed frozen") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto hierarchy = machine->hierarchy;
  const bool without_v2 = GENERATE(false, true);
  if (without_v2 && hierarchy.kind() == Hierarchy::Kind::Hybrid) {
    auto trees = hierarchy.trees();
    std::erase_if(trees, [](const Tree& tree) { return tree.version == 2; });
    hierarchy = Hierarchy(Hierarchy::Kind::V1, trees);
  }
  auto node = Group::create(hierarchy, machine->host + "/low", {}, machine->backend);
  REQUIRE(node);
  auto worker = Group::create(hierarchy, machine->host + "/low/worker-1", {}, machine->backend);
  REQUIRE(worker);
  Child child(spin);
  REQUIRE(worker->attach(child.pid()));
  child.go();
  const auto used = [&] { return node->read().value().cpu_time; };
  const auto runs_on = [&] {
    const auto before = used();
    while (used() - before < 5ms) ::usleep(1000);
  };
  runs_on();
  if (const auto frozen = node->freeze(); !frozen) {
    CHECK(frozen.error().code == Errc::CgroupUnavailable);
    return;
  }
  // v2 calls a process frozen when it is still on its way out of its CPU, which may be late (and itself be virtual).
  auto before = used();
  const auto comes_to_rest = [&] {
    ::usleep(50'000);
    const auto now = used();
    const bool rests = now == before;
    before = now;
    return rests;
  };
  while (!comes_to_rest()) continue;
  ::usleep(50'000);
  CHECK(used() == before);
  REQUIRE(node->thaw());
  runs_on();
  REQUIRE(worker->freeze());
  REQUIRE(node->freeze());
  if (GENERATE(false, true)) REQUIRE(node->kill_all());
  REQUIRE(node->remove());
  CHECK(WTERMSIG(child.wait()) == SIGKILL);
  CHECK(machine->left().empty());
}

TEST_CASE("pressure and faults are told of a real group") {
  const auto machine = real_machine(0);
  if (!machine) return;
  auto group = machine->create("low", {.cpus = 0.05_cpu});
  REQUIRE(group);
  const Child child([] { return use_memory(4U << 20U) ? spin() : 1; });
  REQUIRE(group->attach(child.pid()));
  child.go();
  while (group->read_details().value().page_faults == 0) ::usleep(10'000);  // the kernel sums up every 2 s
  if (!detail::exists("/proc/pressure/cpu")) {
    WARN("skipped: a kernel without PSI");
    return;
  }
  // A held back process waits for a CPU: without pressure, this would never end.
  while (group->read_details().value().cpu.some < 50ms) ::usleep(10'000);
}
