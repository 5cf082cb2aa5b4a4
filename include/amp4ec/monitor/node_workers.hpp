// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

namespace amp4ec {

/// The workers of one node, added up from their counters: `NodeSource::read_workers` and `read_service_times`. Its sums
/// grow only, whichever workers come and go: what one has done stays counted. A worker is not trusted: a counter of its
/// that falls adds nothing, and no sum starts again at 0. Thread-safety: all methods may be called at once. None blocks
/// for long.
class NodeWorkers {
 public:
  using Counters = std::shared_ptr<const ipc::WorkerCounters>;

  /// Counts this worker, for as long as its counters exist or until `forget`.
  void watch(const Counters& counters) {
    const std::lock_guard lock(mutex_);
    workers_.push_back({counters, {}, {}, ipc::monotonic_ns()});
  }

  /// It lives no longer; what it has done stays counted. Without effect on one that is not watched.
  void forget(const Counters& counters) {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::ranges::find_if(workers_, [&](const auto& worker) { return worker.counters.lock() == counters; });
    if (found == workers_.end()) return;
    (void)found->add_to(sum_, *counters);
    found->add_times_to(times_, *counters);
    workers_.erase(found);
  }

  [[nodiscard]] WorkerReading read() {
    const std::lock_guard lock(mutex_);
    sum_.alive = false;
    sum_.queue_depth = 0;
    sum_.silence = {};
    std::erase_if(workers_, [&](Watched& worker) {
      const auto counters = worker.counters.lock();
      if (!counters) return true;
      if (!worker.add_to(sum_, *counters)) return false;
      sum_.alive = true;
      grow(sum_.queue_depth, worker.last.queued, 0);
      sum_.silence = std::max(sum_.silence, worker.silence());
      return false;
    });
    return sum_;
  }

  /// How long the requests took that were done so far.
  [[nodiscard]] ipc::ServiceHistogram service_times() {
    const std::lock_guard lock(mutex_);
    for (Watched& worker : workers_) {
      if (const auto counters = worker.counters.lock()) worker.add_times_to(times_, *counters);
    }
    return times_;
  }

 private:
  /// Adds what a counter has grown by. Ends at the largest count that a signed number holds too.
  static void grow(std::uint64_t& sum, std::uint64_t now, std::uint64_t before) noexcept {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    sum += std::min(now - std::min(now, before), most - std::min(most, sum));
  }
  static void grow(Bytes& sum, std::uint64_t now, std::uint64_t before) noexcept { grow(sum.count, now, before); }
  static void grow(std::chrono::nanoseconds& sum, std::uint64_t now, std::uint64_t before) noexcept {
    auto count = static_cast<std::uint64_t>(sum.count());
    grow(count, now, before);
    sum = std::chrono::nanoseconds(static_cast<std::int64_t>(count));
  }

  struct Watched {
    std::weak_ptr<const ipc::WorkerCounters> counters;
    ipc::WorkerStats last;
    ipc::ServiceHistogram last_times;
    std::uint64_t sign_of_life_ns;  ///< When the host last saw a counter move.

    /// False when the counters are none.
    bool add_to(WorkerReading& sum, const ipc::WorkerCounters& source) {
      const auto stats = source.snapshot();
      if (!stats) return false;
      grow(sum.requests_done, stats->requests, last.requests);
      grow(sum.busy, stats->busy_ns, last.busy_ns);
      grow(sum.ring_received, stats->received_bytes, last.received_bytes);
      grow(sum.ring_sent, stats->sent_bytes, last.sent_bytes);
      if (stats->requests != last.requests || stats->heartbeat_ns != last.heartbeat_ns) {
        sign_of_life_ns = ipc::monotonic_ns();
      }
      last = *stats;
      return true;
    }

    void add_times_to(ipc::ServiceHistogram& sum, const ipc::WorkerCounters& source) {
      const auto times = source.service_times();
      sum += times.since(last_times);
      last_times = times;
    }

    /// Zero for a worker without work. The heartbeat is exact, but it is the worker's own word: one in the future does
    /// not make up for counters that stand still.
    [[nodiscard]] std::chrono::nanoseconds silence() const {
      if (last.phase != ipc::WorkerPhase::busy && last.queued == 0) return {};
      const auto silent = std::max(ipc::elapsed_ns(last.heartbeat_ns), ipc::elapsed_ns(sign_of_life_ns));
      return std::chrono::nanoseconds(static_cast<std::int64_t>(silent));
    }
  };

  std::mutex mutex_;
  std::vector<Watched> workers_;
  WorkerReading sum_;
  ipc::ServiceHistogram times_;
};

}  // namespace amp4ec
