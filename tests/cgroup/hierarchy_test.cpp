// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/hierarchy.hpp>

#include "cgroup/support/built_tree.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;
using namespace amp4ec::cgroup::test;

namespace {
const Tree* tree_of(const Hierarchy& hierarchy, Controller controller) {
  for (const auto& tree : hierarchy.trees()) {
    if (tree.has(controller)) return &tree;
  }
  return nullptr;
}
}  // namespace

TEST_CASE("v1: each controller where it is mounted, below the host's own group") {
  const TempFolder root;
  build_v1(root);
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->kind() == Hierarchy::Kind::V1);
  REQUIRE(hierarchy->trees().size() == 2);
  const auto* cpu = tree_of(*hierarchy, Controller::Cpu);
  const auto* memory = tree_of(*hierarchy, Controller::Memory);
  REQUIRE(cpu != nullptr);
  REQUIRE(memory != nullptr);
  CHECK(cpu == tree_of(*hierarchy, Controller::CpuAccounting));
  CHECK(cpu->mount_point == root.path() + "/cg/cpu,cpuacct");
  CHECK(cpu->base.empty());
  CHECK(memory->own == "/host");
  CHECK(memory->folder("amp4ec-1-2/a") == root.path() + "/cg/memory/host/amp4ec-1-2/a");
  CHECK(hierarchy->check(Controller::Cpu));
  CHECK(hierarchy->check(Controller::Memory));
  CHECK(hierarchy->check_create());
}

TEST_CASE("v1 in a container: the mount shows the container's part only") {
  const TempFolder root;
  root.put("proc/self/cgroup", "3:memory:/docker/17/inner\n2:cpu:/elsewhere\n");
  root.put("proc/self/mountinfo",
           "31 20 0:3 /docker/17 /cg/memory rw - cgroup cgroup rw,memory\n"
           "32 20 0:3 /docker/17 /cg/cpu rw - cgroup cgroup rw,cpu\n");
  root.put("cg/memory/inner/cgroup.procs", "");
  root.put("cg/cpu/cgroup.procs", "");
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(tree_of(*hierarchy, Controller::Memory)->base == "/inner");
  CHECK(tree_of(*hierarchy, Controller::Cpu)->base.empty());
}

TEST_CASE("v2: the nearest group whose children can have the controllers") {
  const TempFolder root;
  build_v2(root);
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->kind() == Hierarchy::Kind::V2);
  REQUIRE(hierarchy->trees().size() == 1);
  const auto& tree = hierarchy->trees().front();
  CHECK(tree.own == "/app.slice/host.scope");
  CHECK(tree.base == "/app.slice");
  CHECK(tree.has(Controller::Cpu));
  CHECK(tree.has(Controller::Memory));
  CHECK(tree.has(Controller::CpuAccounting));
}

TEST_CASE("v2: a host in a child of its delegated group keeps its workers inside that group") {
  const TempFolder root;
  build_v2(root);
  root.put("proc/self/cgroup", "0::/app.slice/host.scope/self\n");
  root.put("cg/app.slice/host.scope/cgroup.procs", "");
  root.put("cg/app.slice/host.scope/self/cgroup.procs", "4711\n");
  root.put("cg/app.slice/host.scope/self/cgroup.type", "domain\n");
  root.put("cg/app.slice/host.scope/self/cgroup.subtree_control", "\n");
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->trees().front().base == "/app.slice/host.scope");
  CHECK(hierarchy->check(Controller::Memory));
}

TEST_CASE("v2: the real root may hold processes and hand controllers on") {
  const TempFolder root;
  root.put("proc/self/cgroup", "0::/\n");
  root.put("proc/self/mountinfo", "30 20 0:2 / /cg rw - cgroup2 cgroup2 rw\n");
  root.put("cg/cgroup.procs", "1\n");
  root.put("cg/cgroup.controllers", "cpu memory\n");
  root.put("cg/cgroup.subtree_control", "\n");
  CHECK(Hierarchy::detect(root.path())->check(Controller::Cpu));

  root.put("cg/cgroup.type", "domain\n");  // now it is the root of a container's namespace only
  const auto contained = Hierarchy::detect(root.path());
  const auto cpu = contained->check(Controller::Cpu);
  REQUIRE_FALSE(cpu);
  CHECK(cpu.error().code == Errc::CgroupUnavailable);
  CHECK(contained->check_create());
}

TEST_CASE("v2: what is not delegated is missing, the rest works") {
  const TempFolder root;
  build_v2(root);
  root.put("cg/cgroup.subtree_control", "memory pids\n");
  root.put("cg/cgroup.controllers", "memory pids\n");
  root.put("cg/app.slice/cgroup.subtree_control", "memory pids\n");
  root.put("cg/app.slice/cgroup.controllers", "memory pids\n");
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->check(Controller::Memory));
  CHECK(hierarchy->check(Controller::Cpu).error().code == Errc::CgroupUnavailable);
}

TEST_CASE("hybrid: v1 limits, and v2 takes part without controllers") {
  const TempFolder root;
  build_hybrid(root);
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->kind() == Hierarchy::Kind::Hybrid);
  REQUIRE(hierarchy->trees().size() == 6);
  for (const auto controller : all_controllers) {
    INFO(to_string(controller));
    CHECK(hierarchy->check(controller));
    CHECK(tree_of(*hierarchy, controller)->version == 1);
  }
  const auto& v2 = hierarchy->trees().back();
  CHECK(v2.version == 2);
  CHECK(v2.controllers.empty());
  CHECK(v2.mount_point == root.path() + "/cg/unified");
}

TEST_CASE("hybrid: v2 serves the controllers that v1 has not") {
  const TempFolder root;
  build_hybrid(root);
  root.put("proc/self/cgroup", "2:cpu,cpuacct:/\n0::/\n");
  root.put("cg/unified/cgroup.controllers", "memory pids\n");
  const auto mixed = Hierarchy::detect(root.path());
  REQUIRE(mixed);
  CHECK(mixed->kind() == Hierarchy::Kind::Hybrid);
  CHECK(tree_of(*mixed, Controller::Cpu)->version == 1);
  CHECK(tree_of(*mixed, Controller::CpuAccounting)->version == 1);
  for (const auto controller : {Controller::Memory, Controller::Pids, Controller::Freezer}) {
    INFO(to_string(controller));
    REQUIRE(tree_of(*mixed, controller) != nullptr);
    CHECK(tree_of(*mixed, controller)->version == 2);
  }
  CHECK(mixed->check(Controller::Cpuset).error().code == Errc::CgroupUnavailable);
}

TEST_CASE("v2: a group above is not taken for the sake of cpuset or pids") {
  const TempFolder root;
  build_v2(root);
  root.put("cg/cgroup.subtree_control", "cpu memory pids cpuset\n");
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE(hierarchy);
  CHECK(hierarchy->trees().front().base == "/app.slice");
  CHECK(hierarchy->check(Controller::Pids).error().code == Errc::CgroupUnavailable);
  CHECK(hierarchy->check(Controller::Freezer));
}

TEST_CASE("no cgroups is a kind, not an error; limits then say so") {
  const TempFolder root;
  const auto nothing = Hierarchy::detect(root.path());
  REQUIRE(nothing);
  CHECK(nothing->kind() == Hierarchy::Kind::None);
  CHECK(nothing->check(Controller::Cpu).error().code == Errc::CgroupUnavailable);
  CHECK(nothing->check_create().error().code == Errc::CgroupUnavailable);

  root.put("proc/self/cgroup", "0::/\n");
  root.put("proc/self/mountinfo", "20 1 0:1 / / rw - ext4 /dev/vda rw\n");
  CHECK(Hierarchy::detect(root.path())->kind() == Hierarchy::Kind::None);
}

TEST_CASE("texts that make no sense are an error") {
  const TempFolder root;
  root.put("proc/self/cgroup", "what?\n");
  root.put("proc/self/mountinfo", "");
  const auto hierarchy = Hierarchy::detect(root.path());
  REQUIRE_FALSE(hierarchy);
  CHECK(hierarchy.error().code == Errc::CgroupFailed);
}
