// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace amp4ec::detail {

using MonitorClock = std::chrono::steady_clock;

/// What a counter has grown by; 0 when it fell, as it does when the thing that it counts is made anew.
inline std::uint64_t growth(std::uint64_t now, std::uint64_t before) noexcept {
  return now - std::min(now, before);
}

/// The share of an interval that a growing sum of time has taken, at most 1.
inline double share_of(std::chrono::microseconds now, std::chrono::microseconds before,
                       std::chrono::duration<double> interval) noexcept {
  if (interval.count() <= 0) return 0;
  return std::clamp(std::chrono::duration<double>(now - before) / interval, 0.0, 1.0);
}

/// Turns the growing sums of a node's group into figures. After a reading that failed, the next interval reaches back
/// to the last one that succeeded.
class GroupMeter {
 public:
  /// The fast tier. Expects the quota in `figures`.
  void add_usage(const cgroup::Usage& usage, MonitorClock::time_point now, NodeFigures& figures) {
    if (!usage_) usage_at_start_ = usage;
    const auto& before = usage_.value_or(usage);
    const std::chrono::duration<double> interval = now - usage_time_;
    if (usage_ && interval.count() > 0) {
      const std::chrono::duration<double> used = usage.cpu_time - before.cpu_time;
      figures.cpu_used = Cpus{std::max(0.0, used / interval)};
      if (figures.cpu_quota.count > 0) figures.cpu_share = figures.cpu_used.count / figures.cpu_quota.count;
      // The kernel adds up the CPUs that it holds back, so the sum may exceed the interval.
      figures.throttled = share_of(usage.throttled_time, before.throttled_time, interval);
    }
    constexpr std::chrono::microseconds none{0};
    figures.resources_known = true;
    figures.cpu_known = usage.cpu_known;
    figures.memory_known = usage.memory_known;
    figures.cpu_time = std::max(none, usage.cpu_time - usage_at_start_.cpu_time);
    figures.throttled_time = std::max(none, usage.throttled_time - usage_at_start_.throttled_time);
    figures.memory_current = usage.memory;
    figures.memory = cgroup::working_set(usage, inactive_file_);
    if (std::exchange(inactive_file_is_new_, false)) memory_at_inactive_file_ = usage.memory;
    usage_ = usage;
    usage_time_ = now;
  }

  /// Whether so much memory has come or gone since the inactive file cache was read that the working set would be off.
  [[nodiscard]] bool is_inactive_file_old(Bytes memory) const {
    if (inactive_file_is_new_) return false;
    constexpr Bytes little = 512_KiB;
    const auto [less, more] = std::minmax(memory.count, memory_at_inactive_file_.count);
    return more - less > std::max(little.count, memory.count / 200);
  }
  /// Comes before `add_usage` of the same round, whose working set needs it.
  void add_inactive_file(Bytes inactive_file) {
    inactive_file_ = inactive_file;
    inactive_file_is_new_ = true;
  }

  /// The slow tier; comes before the fast one of the same round, whose working set needs it.
  void add_details(const cgroup::UsageDetails& details, MonitorClock::time_point now, NodeFigures& figures) {
    if (!details_) details_at_start_ = details;
    const auto& before = details_.value_or(details);
    const std::chrono::duration<double> interval = details_ ? now - details_time_ : MonitorClock::duration{};
    const auto pressure = [&](const cgroup::Pressure& sums, const cgroup::Pressure& earlier) {
      return PressureShare{share_of(sums.some, earlier.some, interval), share_of(sums.full, earlier.full, interval)};
    };
    figures.details_known = true;
    figures.memory_peak_known = details.memory_peak_known;
    figures.oom_kills_known = details.oom_kills_known;
    figures.page_faults_known = details.memory_stat_known;
    figures.pressure_known = details.pressure_known;
    figures.memory_peak = details.memory_peak;
    figures.oom_kills = details.oom_kills;
    figures.cpu_pressure = pressure(details.cpu, before.cpu);
    figures.memory_pressure = pressure(details.memory, before.memory);
    figures.io_pressure = pressure(details.io, before.io);
    figures.page_faults = growth(details.page_faults, details_at_start_.page_faults);
    figures.major_page_faults = growth(details.major_page_faults, details_at_start_.major_page_faults);
    inactive_file_ = details.inactive_file;
    inactive_file_is_new_ = true;
    details_ = details;
    details_time_ = now;
  }

 private:
  std::optional<cgroup::Usage> usage_;
  cgroup::Usage usage_at_start_;
  MonitorClock::time_point usage_time_;
  Bytes inactive_file_;
  Bytes memory_at_inactive_file_;
  bool inactive_file_is_new_ = false;  ///< Read since the last reading of the usage.
  std::optional<cgroup::UsageDetails> details_;
  cgroup::UsageDetails details_at_start_;
  MonitorClock::time_point details_time_;
};

}  // namespace amp4ec::detail
