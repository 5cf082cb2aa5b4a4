// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/edge_gauges.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/sign_of_life.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace amp4ec {

/// The workers of one node, added up from their counters: `NodeSource::read_workers` and `read_service_times`. Its sums
/// grow only, whichever workers come and go: what one has done stays counted. A worker is not trusted: a counter of its
/// that falls adds nothing, and no sum starts again at 0. Thread-safety: all methods may be called at once. None blocks
/// for long.
class NodeWorkers {
 public:
  using Counters = std::shared_ptr<const ipc::WorkerCounters>;

  /// What waits for a worker, whether or not it looks. Not kept alive either.
  using Gauges = std::weak_ptr<const ipc::EdgeGauges>;

  /// Counts this worker, for as long as its counters exist or until `forget`. Without gauges, its own word counts for
  /// what waits: one that is stopped between two requests then seems to have no work.
  void watch(const Counters& counters, Gauges gauges = {}) {
    const std::lock_guard lock(mutex_);
    workers_.push_back({counters, std::move(gauges), {}, {}, {}, 0});
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

  /// How many are watched.
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return workers_.size();
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
      detail::grow(sum_.queue_depth, worker.queued, 0);
      sum_.silence = std::max(sum_.silence, worker.life.silence());
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
  struct Watched {
    std::weak_ptr<const ipc::WorkerCounters> counters;
    Gauges gauges;
    ipc::WorkerStats last;
    ipc::ServiceHistogram last_times;
    detail::SignOfLife life;
    std::uint64_t queued = 0;  ///< Messages behind the one that it executes.

    /// False when the counters are none.
    bool add_to(WorkerReading& sum, const ipc::WorkerCounters& source) {
      const auto stats = source.snapshot();
      if (!stats) return false;
      detail::add_work(sum, *stats, last);
      const bool busy = stats->phase == ipc::WorkerPhase::busy;
      const auto edges = gauges.lock();
      const std::uint64_t held = edges ? edges->held() : stats->queued + (busy ? 1 : 0);
      queued = busy ? held - std::min<std::uint64_t>(held, 1) : held;
      life.see(*stats, busy || held > 0);
      last = *stats;
      return true;
    }

    void add_times_to(ipc::ServiceHistogram& sum, const ipc::WorkerCounters& source) {
      const auto times = source.service_times();
      sum += times.since(last_times);
      last_times = times;
    }
  };

  mutable std::mutex mutex_;
  std::vector<Watched> workers_;
  WorkerReading sum_;
  ipc::ServiceHistogram times_;
};

}  // namespace amp4ec
