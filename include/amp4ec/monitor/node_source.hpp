// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/service_histogram.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace amp4ec {

/// What the workers of one node have done, added up. The sums only grow; when one falls, all are taken to have started
/// again at 0. `NodeWorkers` makes such readings.
struct WorkerReading {
  bool alive = false;
  std::uint64_t queue_depth = 0;
  std::uint64_t requests_done = 0;
  std::chrono::nanoseconds busy{};  ///< Sum of the service times of the requests done.
  Bytes ring_received{};
  Bytes ring_sent{};
  std::chrono::nanoseconds silence{};  ///< Longest time for which a worker that has work gave no sign of life.
};

/// How often a source is read.
enum class Tier : std::uint8_t {
  fast,  ///< Every round: the source must cost microseconds.
  slow,  ///< At the Monitor's slow interval.
};

/// A figure of the user's own.
struct FigureSource {
  std::string name;  ///< Unique within the node.
  std::function<Result<double>()> read;
  Tier tier = Tier::slow;
};

/// Where the figures of one node come from. The monitor calls the readers one at a time, never two at once, from
/// whatever thread runs its executor or calls `Monitor::sample`. They should not block and must not throw: what they
/// throw counts as a reading that failed.
struct NodeSource {
  std::string node;    ///< Unique within a Monitor.
  Cpus cpu_quota;      ///< 0: no limit.
  Bytes memory_limit;  ///< 0: no limit.

  // Every round. `Usage::memory` is the current use, file cache included.
  std::function<Result<cgroup::Usage>()> read_usage{};    ///< May be empty: a node without a group.
  std::function<Result<WorkerReading>()> read_workers{};  ///< May be empty: a node without workers, never alive.

  // The slow tier.
  std::function<Result<cgroup::UsageDetails>()> read_details{};         ///< May be empty: a node without a group.
  std::function<Result<ipc::ServiceHistogram>()> read_service_times{};  ///< May be empty. Of all requests so far.
  std::function<Result<NetworkTraffic>()> read_network{};               ///< May be empty. See `NetworkReader`.

  /// What the working set leaves out, in rounds that find the node's memory changed by more than 0.5 % and 512 KiB. May
  /// be empty: `read_details` tells it as well.
  std::function<Result<Bytes>()> read_inactive_file{};

  std::vector<FigureSource> figures{};

  /// A worker that has work and gives no sign of life for longer is stalled; see `stall_limit`. Time for which the node
  /// was throttled does not count.
  std::chrono::nanoseconds stall_after = std::chrono::seconds{5};
};

}  // namespace amp4ec
