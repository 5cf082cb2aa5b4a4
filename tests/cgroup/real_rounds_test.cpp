// SPDX-License-Identifier: Apache-2.0
// Slow, hence hidden; on the machine's own hierarchy. Run: test_cgroup "[.slow]", with AMP4EC_CGROUP_ROUNDS for fewer.
#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/print_result.hpp"
#include "cgroup/support/real_machine.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include <sys/wait.h>
#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;

namespace {
std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

int rounds_wanted() {
  const char* text = std::getenv("AMP4EC_CGROUP_ROUNDS");  // NOLINT(concurrency-mt-unsafe): no other thread runs
  const auto number = detail::to_number(text == nullptr ? "10000" : text);
  REQUIRE(number);
  REQUIRE(*number > 0);
  return static_cast<int>(*number);
}
}  // namespace

TEST_CASE("rounds of create, limit, attach, kill and delete leave no group, no descriptor, no process", "[.slow]") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  const Limits limits{.cpus = 0.5_cpu, .memory = 64_MiB, .cpu_weight = 50, .cpuset = {0}, .pids = 10};
  REQUIRE(machine->create("round", limits));  // opens what stays
  const auto descriptors = open_descriptors();
  const int rounds = rounds_wanted();
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < rounds; ++round) {
    auto group = machine->create("round");
    REQUIRE(group);
    REQUIRE(group->set_limits(limits));
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (;;) ::pause();
    }
    const auto attached = group->attach(child);
    const auto killed = group->kill_all();
    ::kill(child, SIGKILL);  // where the group did not
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(attached);
    REQUIRE(killed);
    REQUIRE(group->remove());
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  WARN(rounds << " rounds in " << wall.count() << " s (" << machine->backend->name() << ")");
  CHECK(machine->left().empty());
  CHECK(open_descriptors() == descriptors);
  CHECK(::waitpid(-1, nullptr, WNOHANG) < 0);  // no child is left
  CHECK(detail::owned_groups().folders.empty());
  CHECK(detail::owned_groups().cpus.empty());
}
