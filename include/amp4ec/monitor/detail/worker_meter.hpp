// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/detail/group_meter.hpp>
#include <amp4ec/monitor/node_source.hpp>
#include <amp4ec/monitor/sample.hpp>
#include <amp4ec/monitor/stall_limit.hpp>

#include <chrono>
#include <cstdint>

namespace amp4ec::detail {

/// Turns the growing sums of a node's workers into figures.
class WorkerMeter {
 public:
  /// Percentiles are over the requests since the last but one of the moments that lie this far apart; readings come a
  /// little before or after their time.
  static constexpr std::chrono::milliseconds window_step{5'000 - 500};

  /// Takes where the sums stand as where the node joined.
  void begin(const WorkerReading& reading, MonitorClock::time_point now) {
    last_ = reading;
    time_ = now;
  }
  void begin_times(const ipc::ServiceHistogram& times, MonitorClock::time_point now) {
    older_ = newer_ = times;
    newer_time_ = now;
  }

  /// The fast tier. `throttled`: for what share of the time since the last reading the node's quota held it back.
  void add(const WorkerReading& reading, MonitorClock::time_point now, double throttled,
           std::chrono::nanoseconds stall_after) {
    const bool restarted = reading.requests_done < last_.requests_done || reading.busy < last_.busy ||
                           reading.ring_received < last_.ring_received || reading.ring_sent < last_.ring_sent;
    const WorkerReading before = restarted ? WorkerReading{} : last_;
    const auto done = reading.requests_done - before.requests_done;
    if (done > 0) {
      const std::chrono::duration<double, std::micro> busy = reading.busy - before.busy;
      figures_.mean_service_us = busy.count() / static_cast<double>(done);
    }
    figures_.alive = reading.alive;
    figures_.state = !reading.alive                                     ? NodeState::down
                     : is_stalled(reading, now, throttled, stall_after) ? NodeState::stalled
                                                                        : NodeState::up;
    figures_.queue_depth = reading.queue_depth;
    figures_.requests_done += done;
    figures_.ring_received.count += reading.ring_received.count - before.ring_received.count;
    figures_.ring_sent.count += reading.ring_sent.count - before.ring_sent.count;
    last_ = reading;
  }

  /// The fast tier's reading failed: the sums stay, nobody is known to live.
  void add_failure() {
    figures_.alive = false;
    figures_.state = NodeState::down;
    figures_.queue_depth = 0;
  }

  /// The slow tier.
  void add_times(const ipc::ServiceHistogram& times, MonitorClock::time_point now) {
    const auto window = times.since(older_);
    if (const double median = window.quantile_us(0.5); median > 0) {
      figures_.p50_service_us = median;
      figures_.p90_service_us = window.quantile_us(0.9);
      figures_.p99_service_us = window.quantile_us(0.99);
    }
    if (now - newer_time_ < window_step) return;
    older_ = newer_;
    newer_ = times;
    newer_time_ = now;
  }

  /// Only the fields about workers are set.
  void write(NodeFigures& figures) const {
    figures.state = figures_.state;
    figures.alive = figures_.alive;
    figures.queue_depth = figures_.queue_depth;
    figures.requests_done = figures_.requests_done;
    figures.mean_service_us = figures_.mean_service_us;
    figures.ring_received = figures_.ring_received;
    figures.ring_sent = figures_.ring_sent;
    figures.p50_service_us = figures_.p50_service_us;
    figures.p90_service_us = figures_.p90_service_us;
    figures.p99_service_us = figures_.p99_service_us;
  }

 private:
  bool is_stalled(const WorkerReading& reading, MonitorClock::time_point now, double throttled,
                  std::chrono::nanoseconds stall_after) {
    const std::chrono::nanoseconds interval = now - time_;
    time_ = now;
    const bool silent_all_along = reading.silence >= interval;
    if (silent_all_along) silent_ += std::chrono::duration<double, std::nano>(interval) * (1 - throttled);
    if (!silent_all_along) silent_ = reading.silence;
    return silent_ > stall_limit(stall_after, figures_.mean_service_us);
  }

  WorkerReading last_;
  MonitorClock::time_point time_;                      ///< Of the last reading.
  std::chrono::duration<double, std::nano> silent_{};  ///< Of the worker that is silent longest, throttling left out.
  NodeFigures figures_;
  ipc::ServiceHistogram older_, newer_;
  MonitorClock::time_point newer_time_;
};

}  // namespace amp4ec::detail
