// SPDX-License-Identifier: Apache-2.0
// On the machine's own hierarchy; needs privilege, and is skipped with a message without.
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/cgroup/thread_group.hpp>

#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "cgroup/support/real_machine.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <future>
#include <optional>
#include <thread>

#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {
/// A thread that burns CPU until it is told to stop.
class Burner {
 public:
  Burner() {
    std::promise<pid_t> id;
    auto known = id.get_future();
    thread_ = std::thread([this, &id] {
      id.set_value(::gettid());
      while (!stop_) {
      }
    });
    id_ = known.get();
  }
  ~Burner() {
    stop_ = true;
    thread_.join();
  }
  Burner(const Burner&) = delete;
  Burner& operator=(const Burner&) = delete;
  [[nodiscard]] pid_t id() const { return id_; }
  [[nodiscard]] std::string groups() const {
    return detail::read_file(fmt::format("/proc/self/task/{}/cgroup", id_)).value();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
  pid_t id_ = 0;
};
}  // namespace

TEST_CASE("two busy threads together get their quota and no more; then they are back where they were") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  const Burner first;
  const Burner second;
  const auto home = first.groups();
  const auto path = thread_group_name().value() + "/low";
  {
    auto group = ThreadGroup::create(machine->hierarchy, path, {.cpus = 0.3_cpu}, machine->backend);
    if (!group) {
      WARN("skipped: " << group.error().what());
      return;
    }
    REQUIRE(group->attach(first.id()));
    REQUIRE(group->attach(second.id()));
    CHECK(first.groups().find(path) != std::string::npos);
    const auto used_within = [&](std::chrono::milliseconds time) {
      const auto before = group->read().value();
      const auto start = Clock::now();
      std::this_thread::sleep_for(time);
      const auto after = group->read().value();
      const std::chrono::duration<double> wall = Clock::now() - start;
      CHECK(after.nr_throttled > before.nr_throttled);
      CHECK(after.throttled_time > before.throttled_time);
      return std::chrono::duration<double>(after.cpu_time - before.cpu_time).count() / wall.count();
    };
    const auto share = used_within(1000ms);
    CHECK(share > 0.1);  // other loads may take their part
    CHECK(share < 0.33);
    REQUIRE(group->set_limits({.cpus = 0.1_cpu, .cpu_burst = 500us, .cpu_weight = 50}));
    CHECK(used_within(500ms) < 0.15);
    REQUIRE(group->set_limits({}));
  }
  CHECK(first.groups() == home);
  CHECK(second.groups() == home);
  for (const auto& tree : machine->hierarchy.trees()) {
    CHECK_FALSE(detail::exists(tree.folder(detail::parent_group(path))));
  }
}

TEST_CASE("the real v2 files for threads: type, threads, accounting, the way back") {
  const auto detected = Hierarchy::detect().value();
  for (const auto& tree : detected.trees()) {
    if (tree.version != 2 || tree.refusal) continue;
    auto accounting = tree;
    accounting.controllers = {Controller::CpuAccounting};
    const Hierarchy hierarchy(Hierarchy::Kind::V2, {accounting});
    const Burner burner;
    const auto home = burner.groups();
    auto group = ThreadGroup::create(hierarchy, thread_group_name().value() + "/low");
    if (!group) {
      WARN("skipped: " << group.error().what());
      return;
    }
    REQUIRE(group->attach(burner.id()));
    CHECK(burner.groups().find(group->path()) != std::string::npos);
    // The kernel shows the list of a threaded group's processes, but lets nobody read it, as pressure with psi=0.
    const auto unreadable = detail::CounterFile::open(detail::join(tree.mount_point + tree.own, group->path()) + "/" +
                                                      std::string(files::processes));
    REQUIRE(unreadable);
    CHECK_FALSE(unreadable->parse(parse_number_file).value().has_value());
    while (group->read().value().cpu_time < 20ms) std::this_thread::sleep_for(1ms);
    REQUIRE(group->remove());
    CHECK(burner.groups() == home);
    return;
  }
  WARN("skipped: no writable v2 hierarchy");
}

TEST_CASE("a thread's child is not killed with the thread group, but moved out") {
  const auto machine = real_machine(0);
  if (!machine) return;
  auto group = ThreadGroup::create(machine->hierarchy, thread_group_name().value() + "/low");
  if (!group) {
    WARN("skipped: " << group.error().what());
    return;
  }
  REQUIRE(group->attach(::gettid()));
  Child child([] { return 7; });
  REQUIRE(group->remove());
  child.go();
  CHECK(WEXITSTATUS(child.wait()) == 7);
}

TEST_CASE("a thread that another one started in the group, and was attached then, goes back as well") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  const Burner outside;
  auto group = ThreadGroup::create(machine->hierarchy, thread_group_name().value() + "/low", {}, machine->backend);
  if (!group) {
    WARN("skipped: " << group.error().what());
    return;
  }
  std::optional<Burner> inside;
  Result<void> attached;
  std::thread([&] {
    attached = group->attach(::gettid());
    inside.emplace();
  }).join();
  REQUIRE(attached);
  REQUIRE(inside->groups().find(group->path()) != std::string::npos);
  REQUIRE(group->attach(inside->id()));
  CHECK(group->remove());
  CHECK(inside->groups() == outside.groups());
}

TEST_CASE("the thread groups of a crashed host are removed, not what runs in them") {
  const auto machine = real_machine(0);
  if (!machine) return;
  Child crashing([&] {
    auto group = ThreadGroup::create(machine->hierarchy, thread_group_name().value() + "/low");
    if (!group || !group->attach(::gettid())) return 1;
    ::_exit(0);  // without any destructor, as a crash
  });
  const auto left = thread_group_name(identity_of(crashing.pid()));
  crashing.go();
  REQUIRE(crashing.wait() == 0);
  // Below the group of the process, on v2 too, where groups for processes lie elsewhere.
  const auto count = [&] {
    int folders = 0;
    for (const auto& tree : machine->hierarchy.trees())
      folders += detail::exists(detail::join(tree.mount_point + tree.own, left)) ? 1 : 0;
    return folders;
  };
  CHECK(count() > 0);
  REQUIRE(remove_stale_groups(machine->hierarchy, machine->backend));
  CHECK(count() == 0);
}
