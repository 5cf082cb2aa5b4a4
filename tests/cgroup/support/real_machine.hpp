// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/cgroup/native_backend.hpp>

#include "support/catch.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace amp4ec::cgroup::test {

/// The machine that the test runs on, with one of the backends that work here.
struct RealMachine {
  Hierarchy hierarchy;
  std::shared_ptr<Backend> backend;
  std::string host;

  /// A group below `host`, e.g. "low/worker-1".
  [[nodiscard]] Result<Group> create(const std::string& name, const Limits& limits = {}) const {
    return Group::create(hierarchy, host + "/" + name, limits, backend);
  }

  /// The folders named by `host`, over all trees.
  [[nodiscard]] std::vector<std::string> left() const {
    std::vector<std::string> folders;
    for (const auto& tree : hierarchy.trees()) {
      if (detail::exists(tree.folder(host))) folders.push_back(tree.folder(host));
    }
    return folders;
  }
};

/// Nothing, with a message, where the test cannot run: no cgroups or no privilege. `which`: 0 native, 1 libcgroup.
inline std::optional<RealMachine> real_machine(int which) {
  auto hierarchy = Hierarchy::detect();
  REQUIRE(hierarchy);
  for (const auto controller : {Controller::Cpu, Controller::Memory}) {
    if (const auto usable = hierarchy->check(controller); !usable) {
      WARN("skipped: " << usable.error().what());
      return std::nullopt;
    }
  }
  auto backend = native_backend();
  if (which == 1) {
    auto libcgroup = libcgroup_backend(*hierarchy);
    if (!libcgroup) {
      WARN("without libcgroup: " << libcgroup.error().what());
      return std::nullopt;
    }
    backend = *libcgroup;
  }
  return RealMachine{*hierarchy, backend, host_group_name().value()};
}

/// Of a child as a host of its own.
inline HostIdentity identity_of(pid_t child) {
  const auto stat = parse_process_stat(detail::read_file(fmt::format("/proc/{}/stat", child)).value());
  return {child, stat.value().start_time, this_host()->pid_namespace};
}

}  // namespace amp4ec::cgroup::test
