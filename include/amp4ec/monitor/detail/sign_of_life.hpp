// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/worker_counters.hpp>

#include <chrono>
#include <cstdint>

namespace amp4ec::detail {

/// When one worker last moved, from readings of its counters.
class SignOfLife {
 public:
  /// `has_work`: it executes, or something waits for it. One without work need not move.
  void see(const ipc::WorkerStats& stats, bool has_work) {
    const bool moved = stats.requests != requests_ || stats.heartbeat_ns != heartbeat_ns_;
    if (moved || !has_work) alive_ns_ = ipc::monotonic_ns();
    requests_ = stats.requests;
    heartbeat_ns_ = stats.heartbeat_ns;
  }

  /// Since the last reading at which it moved or had nothing to do: at most one interval of reading too short. By our
  /// own clock: the heartbeat is the worker's word.
  [[nodiscard]] std::chrono::nanoseconds silence() const {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(ipc::elapsed_ns(alive_ns_)));
  }

 private:
  std::uint64_t requests_ = 0;
  std::uint64_t heartbeat_ns_ = 0;
  std::uint64_t alive_ns_ = ipc::monotonic_ns();
};

}  // namespace amp4ec::detail
