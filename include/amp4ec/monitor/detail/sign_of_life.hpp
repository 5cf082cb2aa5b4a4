// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/worker_counters.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace amp4ec::detail {

/// When one worker last moved, from readings of its counters.
class SignOfLife {
 public:
  void see(const ipc::WorkerStats& stats) {
    if (stats.requests != requests_ || stats.heartbeat_ns != heartbeat_ns_) moved_ns_ = ipc::monotonic_ns();
    requests_ = stats.requests;
    heartbeat_ns_ = stats.heartbeat_ns;
    has_work_ = stats.phase == ipc::WorkerPhase::busy || stats.queued > 0;
  }

  /// Zero for a worker without work. The heartbeat is exact, but it is the worker's own word: one in the future does
  /// not make up for counters that stand still.
  [[nodiscard]] std::chrono::nanoseconds silence() const {
    if (!has_work_) return {};
    const auto silent = std::max(ipc::elapsed_ns(heartbeat_ns_), ipc::elapsed_ns(moved_ns_));
    return std::chrono::nanoseconds(static_cast<std::int64_t>(silent));
  }

 private:
  std::uint64_t requests_ = 0;
  std::uint64_t heartbeat_ns_ = 0;
  std::uint64_t moved_ns_ = ipc::monotonic_ns();  ///< When we last saw a counter move.
  bool has_work_ = false;
};

}  // namespace amp4ec::detail
