// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>

namespace amp4ec::cgroup {

/// What a group has used, the groups below it included unless said otherwise. A field is 0 where the hierarchy lacks
/// the controller that counts it.
struct Usage {
  std::chrono::microseconds cpu_time{};        ///< Since the group was created.
  std::chrono::microseconds throttled_time{};  ///< Held back by this group's own quota; summed over the CPUs.
  std::uint64_t nr_throttled = 0;              ///< Periods in which this group's own quota ran out.
  Bytes memory;                                ///< Working set: current use minus inactive file cache.
  Bytes memory_peak;                           ///< Highest use, file cache included. Before Linux 5.19, v2 has none: 0.

  /// Processes that the kernel killed for memory. v2 counts the groups below; v1 counts only the processes of this very
  /// group, so on v1 read the worker's group, not the node's, to learn why a worker died.
  std::uint64_t oom_kills = 0;
};

}  // namespace amp4ec::cgroup
