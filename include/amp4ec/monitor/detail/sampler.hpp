// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/node_source.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

namespace amp4ec::detail {

/// Turns the growing sums of one node into samples.
class Sampler {
 public:
  using Clock = std::chrono::steady_clock;

  Sampler(NodeSource source, std::size_t window) : source_(std::move(source)), window_(window) {}

  /// Reads where the sums stand, so that the first sample already has an interval.
  void begin(Clock::time_point now) {
    (void)next(now);
    requests_done_ = 0;
    mean_service_us_ = 0;
  }

  /// Reads everything once. Calls of `begin` and `next` exclude one another.
  Sample next(Clock::time_point now) {
    Sample sample;
    sample.node = source_.node;
    sample.time = now;
    sample.cpu_quota = source_.cpu_quota;
    sample.memory_limit = source_.memory_limit;
    if (source_.read_usage) add_usage(sample, now);
    if (source_.read_workers) add_workers(sample);
    return sample;
  }

  void set_limits(Cpus quota, Bytes memory) {
    source_.cpu_quota = quota;
    source_.memory_limit = memory;
  }

  void keep(const Sample& sample) {
    history_.push_back(sample);
    if (history_.size() > window_) history_.pop_front();
  }
  [[nodiscard]] const std::deque<Sample>& history() const noexcept { return history_; }

 private:
  void add_usage(Sample& sample, Clock::time_point now) {
    const auto reading = source_.read_usage();
    if (!reading) return;  // the next sample's interval then reaches back to the last reading that succeeded
    sample.resources_known = true;
    sample.memory = reading->memory;
    sample.memory_peak = reading->memory_peak;
    sample.oom_kills = reading->oom_kills;
    if (usage_) {
      const std::chrono::duration<double> interval = now - usage_time_;
      if (interval.count() > 0) {
        const std::chrono::duration<double> used = reading->cpu_time - usage_->cpu_time;
        const std::chrono::duration<double> throttled = reading->throttled_time - usage_->throttled_time;
        sample.cpu_used = Cpus{std::max(0.0, used / interval)};
        // The kernel adds up the CPUs that it holds back, so the sum may exceed the interval.
        sample.throttled = std::clamp(throttled / interval, 0.0, 1.0);
      }
    }
    usage_ = *reading;
    usage_time_ = now;
  }

  void add_workers(Sample& sample) {
    const auto reading = source_.read_workers();
    if (reading) {
      sample.alive = reading->alive;
      sample.queue_depth = reading->queue_depth;
      // A replaced worker starts at zero again; what its predecessor did stays counted.
      const bool restarted = reading->requests_done < workers_.requests_done || reading->busy < workers_.busy;
      const WorkerReading before = restarted ? WorkerReading{} : workers_;
      const auto done = reading->requests_done - before.requests_done;
      if (done > 0) {
        const std::chrono::duration<double, std::micro> busy = reading->busy - before.busy;
        mean_service_us_ = busy.count() / static_cast<double>(done);
      }
      requests_done_ += done;
      workers_ = *reading;
    }
    sample.requests_done = requests_done_;
    sample.mean_service_us = mean_service_us_;
  }

  NodeSource source_;
  std::size_t window_;
  std::deque<Sample> history_;
  std::optional<cgroup::Usage> usage_;
  Clock::time_point usage_time_;
  WorkerReading workers_;
  std::uint64_t requests_done_ = 0;
  double mean_service_us_ = 0;
};

}  // namespace amp4ec::detail
