// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/service_histogram.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/foreign_counters.hpp>
#include <amp4ec/monitor/detail/foreign_threads.hpp>
#include <amp4ec/monitor/detail/sign_of_life.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/network_reader.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include <sys/types.h>

namespace amp4ec::detail {

/// What workers have done, added up.
struct WatchedWork {
  WorkerReading reading;
  ipc::ServiceHistogram times;
};

/// A worker process or a worker thread.
struct WatchedWorkerState {
  pid_t pid = 0;
  pid_t thread = 0;                                 ///< 0 for a process.
  pid_t counted = 0;                                ///< The process whose counters these are.
  std::optional<ipc::WorkerCountersView> counters;  ///< Readable for as long as we keep them, its worker gone or not.
  std::optional<ipc::WorkerStats> stats;            ///< Of the last look at which they made sense.
  ipc::ServiceHistogram times;                      ///< As well.
  std::optional<NetworkReader> network;
  WatchedWork sum;
  SignOfLife life;

  /// Adds what the worker process has done since the last call to its own sum and to that of its node. `process`: 0
  /// when it has gone.
  void look(pid_t process, WatchedWork& of_node) {
    pid = process;
    if (pid != 0 && pid != counted) meet(pid);
    if (pid != 0 && !counters) counters = find_counters(pid);
    add_to(of_node);
  }

  /// The same for a worker thread; null when it has gone.
  void look(SeenThread* seen, WatchedWork& of_node) {
    pid = seen == nullptr ? 0 : seen->thread.process;
    thread = seen == nullptr ? thread : seen->thread.id;
    if (pid != 0 && pid != counted) meet(pid);
    if (seen != nullptr && !counters) counters = std::move(seen->counters);
    add_to(of_node);
  }

 private:
  void meet(pid_t process) {
    counters.reset();
    stats.reset();
    times = {};
    life = {};
    auto reader = NetworkReader::open(process);
    network = reader ? std::optional(std::move(*reader)) : std::nullopt;
    counted = process;
  }

  void add_to(WatchedWork& of_node) {
    const auto now = read_counters();
    const auto times_now = now ? counters->service_times() : times;
    if (now) life.see(*now, now->phase == ipc::WorkerPhase::busy || now->queued > 0);
    for (auto* each : {&sum, &of_node}) {
      auto& reading = each->reading;
      reading.alive = reading.alive || pid != 0;
      if (now && pid != 0) {
        grow(reading.queue_depth, now->queued, 0);
        reading.silence = std::max(reading.silence, life.silence());
      }
      if (now) add_work(reading, *now, stats.value_or(ipc::WorkerStats{}));
      each->times += times_now.since(times);
    }
    if (now) stats = now;
    times = times_now;
  }

  [[nodiscard]] std::optional<ipc::WorkerStats> read_counters() const {
    if (!counters) return std::nullopt;
    const auto read = counters->snapshot();
    if (!read) return std::nullopt;
    return *read;
  }
};

}  // namespace amp4ec::detail
