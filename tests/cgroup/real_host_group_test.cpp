// SPDX-License-Identifier: Apache-2.0
// On the machine's own hierarchy; needs privilege, and is skipped with a message without.
#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/host_group.hpp>

#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "cgroup/support/real_machine.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;

TEST_CASE("what a killed host leaves is killed and removed; a live host's groups stay") {
  const auto machine = real_machine(GENERATE(0, 1));
  if (!machine) return;
  auto live = machine->create("high");
  REQUIRE(live);

  int orphan_pipe[2];
  REQUIRE(::pipe(orphan_pipe) == 0);
  const Signal ready;
  const bool frozen = GENERATE(false, true);
  Child host([&] {
    auto group = Group::create(machine->hierarchy, host_group_name().value() + "/low", {}, native_backend());
    if (!group) return 1;
    const pid_t orphan = ::fork();
    if (orphan == 0) {
      ::close(orphan_pipe[0]);  // holds the other end until it dies
      return sleep_forever();
    }
    if (!group->attach(orphan)) return 2;
    if (frozen && !group->freeze()) return 3;
    return ready.give() ? sleep_forever() : 4;
  });
  const auto left = host_group_name(identity_of(host.pid()));
  host.go();
  ready.wait();
  REQUIRE(::kill(host.pid(), SIGKILL) == 0);
  REQUIRE(WTERMSIG(host.wait()) == SIGKILL);
  ::close(orphan_pipe[1]);
  for (const auto& tree : machine->hierarchy.trees()) CHECK(detail::exists(tree.folder(left)));

  const auto removed = remove_stale_groups(machine->hierarchy, machine->backend);
  REQUIRE(removed);
  CHECK(*removed >= 1);
  for (const auto& tree : machine->hierarchy.trees()) CHECK_FALSE(detail::exists(tree.folder(left)));
  char byte = 0;
  CHECK(::read(orphan_pipe[0], &byte, 1) == 0);  // end of file: the orphan is dead
  ::close(orphan_pipe[0]);
  CHECK(live->read());
}
