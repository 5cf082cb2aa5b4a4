// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace amp4ec {

/// What the workers of one node have done, added up. The sums only grow; they may start again at 0 when a worker is
/// replaced.
struct WorkerReading {
  bool alive = false;
  std::uint64_t queue_depth = 0;
  std::uint64_t requests_done = 0;
  std::chrono::nanoseconds busy{};  ///< Sum of the service times of the requests done.
};

/// Where the figures of one node come from. The monitor calls the readers one at a time, never two at once, from
/// whatever thread runs its executor or calls `Monitor::sample`. They should take microseconds and must not throw.
struct NodeSource {
  std::string node;                                     ///< Unique within a Monitor.
  Cpus cpu_quota;                                       ///< 0: no limit.
  Bytes memory_limit;                                   ///< 0: no limit.
  std::function<Result<cgroup::Usage>()> read_usage;    ///< May be empty: a node without a group.
  std::function<Result<WorkerReading>()> read_workers;  ///< May be empty: a node without workers, never alive.
};

}  // namespace amp4ec
