// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/cpu_list.hpp>
#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>

namespace amp4ec::cgroup {

/// What a group may use, the groups below it included. Zero and empty mean: no limit.
struct Limits {
  Cpus cpus{};     ///< CPU quota (CFS bandwidth). At least 0.001.
  Bytes memory{};  ///< Memory; see `swap` for what may go to a disk. The kernel rounds it down to a page.

  /// How often the quota is refilled, 1 ms to 1 s. With the default a throttled worker behaves like a uniformly slower
  /// CPU: at a quota of 0.4, a piece of work of 8 ms takes 20 to 21 ms, where a period of 100 ms makes it 16 to 72 ms.
  /// The kernel grants no less than 1 ms a period, so a quota below 1 ms / period takes a longer period by itself.
  std::chrono::microseconds cpu_period{20'000};

  /// CPU time that may be saved up from idle periods, on top of the quota of a period. At most the quota of one period.
  std::chrono::microseconds cpu_burst{};

  /// Share of a contended CPU against the groups beside this one, 1 to 10000. 0 is the kernel's own: 100.
  unsigned cpu_weight = 0;

  /// The CPUs to run on, among those of the group above.
  CpuList cpuset{};

  /// Use above which v2 slows the group down and reclaims from it. v1 has but a soft limit: reclaim begins with such
  /// groups when the machine runs short.
  Bytes memory_high{};

  Bytes swap{};  ///< Swap on top of `memory`. None by default: memory that is limited does not move to a disk.

  std::uint64_t pids = 0;  ///< Processes and threads.

  bool operator==(const Limits&) const = default;
};

}  // namespace amp4ec::cgroup
