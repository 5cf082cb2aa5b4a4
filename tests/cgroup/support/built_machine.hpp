// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/group.hpp>

#include "cgroup/support/built_tree.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::cgroup::test {

using Log = std::vector<std::string>;

/// A machine with a built tree and a played kernel.
struct Machine {
  TempFolder root;
  std::shared_ptr<PlayedKernel> kernel = std::make_shared<PlayedKernel>();
  Hierarchy hierarchy;

  explicit Machine(void (*build)(const TempFolder&)) {
    build(root);
    hierarchy = Hierarchy::detect(root.path()).value();
  }
  Result<Group> create(const std::string& path, const Limits& limits = {}) const {
    return Group::create(hierarchy, path, limits, kernel);
  }
  [[nodiscard]] int folders_left() const {
    int count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root.path() + "/cg")) {
      if (entry.path().filename().string().starts_with("amp4ec")) ++count;
    }
    return count;
  }
  /// What was written since the last call.
  [[nodiscard]] Log log() const { return std::exchange(kernel->log, {}); }
};

}  // namespace amp4ec::cgroup::test
