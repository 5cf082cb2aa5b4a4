// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/sign_of_life.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
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
    workers_.push_back({counters, {}, {}, {}});
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
      detail::grow(sum_.queue_depth, worker.last.queued, 0);
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
    ipc::WorkerStats last;
    ipc::ServiceHistogram last_times;
    detail::SignOfLife life;

    /// False when the counters are none.
    bool add_to(WorkerReading& sum, const ipc::WorkerCounters& source) {
      const auto stats = source.snapshot();
      if (!stats) return false;
      detail::add_work(sum, *stats, last);
      life.see(*stats);
      last = *stats;
      return true;
    }

    void add_times_to(ipc::ServiceHistogram& sum, const ipc::WorkerCounters& source) {
      const auto times = source.service_times();
      sum += times.since(last_times);
      last_times = times;
    }
  };

  std::mutex mutex_;
  std::vector<Watched> workers_;
  WorkerReading sum_;
  ipc::ServiceHistogram times_;
};

}  // namespace amp4ec
