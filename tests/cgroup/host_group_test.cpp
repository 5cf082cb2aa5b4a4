// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/host_group.hpp>

#include "cgroup/support/built_tree.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;

TEST_CASE("host group names say who made them") {
  CHECK(host_group_name({17, 4711}) == "amp4ec-17-4711");
  CHECK(host_group_name({17, 4711, 4026532000}) == "amp4ec-17-4711-4026532000");
  CHECK(parse_host_group("amp4ec-17-4711") == HostIdentity{17, 4711});
  CHECK(parse_host_group("amp4ec-17-4711-4026532000") == HostIdentity{17, 4711, 4026532000});
  for (const auto* name :
       {"amp4ec", "amp4ec-", "amp4ec-17", "amp4ec-17-", "amp4ec-x-1", "amp4ec-17-4711-", "amp4ec-0-1",
        "amp4ec-17-4711-x", "amp4ec-017-4711", "amp4ec-17-4711-1-1", "other-17-4711", "amp4ec-99999999999-1"}) {
    INFO(name);
    CHECK_FALSE(parse_host_group(name));
  }
}

TEST_CASE("a live process is not stale, one of another start time or namespace is judged apart") {
  const auto self = this_host();
  REQUIRE(self);
  CHECK(self->pid == ::getpid());
  CHECK(parse_host_group(*host_group_name()) == *self);
  CHECK_FALSE(is_stale(*self));

  auto reused = *self;
  ++reused.start_time;
  CHECK(is_stale(reused));

  auto foreign = reused;
  ++foreign.pid_namespace;
  CHECK_FALSE(is_stale(foreign));
}

TEST_CASE("only leftovers of ended hosts go, wherever they are") {
  const TempFolder root;
  build_v1(root);
  const auto hierarchy = Hierarchy::detect(root.path()).value();
  auto dead = this_host().value();
  dead.start_time += 1;
  auto foreign = dead;
  foreign.pid_namespace += 1;
  const auto dead_name = host_group_name(dead);
  const auto foreign_name = host_group_name(foreign);
  const auto live_name = host_group_name().value();
  for (const auto& name : {dead_name, foreign_name, live_name, std::string("amp4ec-other")}) {
    root.put("cg/memory/host/" + name + "/cgroup.procs", "");
    root.put("cg/memory/host/" + name + "/high/cgroup.procs", "");
  }
  for (const auto* below : {"", "/low", "/low/worker"}) {
    root.put("cg/memory/elsewhere/" + dead_name + below + "/cgroup.procs", "");
  }
  root.put("cg/cpu,cpuacct/" + dead_name + "/cgroup.procs", "");

  const auto removed = remove_stale_groups(hierarchy, std::make_shared<PlayedKernel>());
  REQUIRE(removed);
  CHECK(*removed == 1);
  CHECK_FALSE(root.has("cg/memory/host/" + dead_name));
  CHECK_FALSE(root.has("cg/memory/elsewhere/" + dead_name));
  CHECK_FALSE(root.has("cg/cpu,cpuacct/" + dead_name));
  CHECK(root.has("cg/memory/host/" + foreign_name + "/high"));
  CHECK(root.has("cg/memory/host/" + live_name + "/high"));
  CHECK(root.has("cg/memory/host/amp4ec-other/high"));
  CHECK(*remove_stale_groups(hierarchy, std::make_shared<PlayedKernel>()) == 0);
}
