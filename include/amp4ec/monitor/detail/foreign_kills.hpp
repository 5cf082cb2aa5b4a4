// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace amp4ec::detail {

/// How many processes of one group the kernel killed for memory, from readings of it. Stays when the group goes, and
/// goes on counting when one of its name comes.
class ForeignKills {
 public:
  void see(const std::vector<cgroup::Tree>& trees, const std::string& group) {
    for (const auto& tree : trees) {
      if (!tree.has(cgroup::Controller::Memory)) continue;
      const cgroup::detail::GroupFolder folder{tree, group};
      const auto now = folder.read(folder.v2() ? cgroup::files::memory_events : cgroup::files::memory_oom_control,
                                   cgroup::parse_oom_kills);
      if (!now) continue;
      grow(count_, *now, last_);
      last_ = *now;
    }
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace amp4ec::detail
