// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <chrono>

namespace amp4ec::cgroup {

/// What a group may use, the groups below it included. Zero means: no limit.
struct Limits {
  Cpus cpus{};     ///< CPU quota (CFS bandwidth). At least 0.001.
  Bytes memory{};  ///< Memory, swap included where the kernel accounts for swap. The kernel rounds it down to a page.

  /// How often the quota is refilled, 1 ms to 1 s. With the default a throttled worker behaves like a uniformly slower
  /// CPU: at a quota of 0.4, a piece of work of 8 ms takes 20 to 21 ms, where a period of 100 ms makes it 16 to 72 ms.
  /// The kernel grants no less than 1 ms a period, so a quota below 1 ms / period takes a longer period by itself.
  std::chrono::microseconds cpu_period{20'000};

  bool operator==(const Limits&) const = default;
};

}  // namespace amp4ec::cgroup
