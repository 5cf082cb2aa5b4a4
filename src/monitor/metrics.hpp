// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/sample.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <string_view>

namespace amp4ec::detail {

/// One figure of a sample, as others know it.
struct Metric {
  enum class Kind {
    counter,  ///< Only grows, but for a restart at 0.
    gauge,    ///< Goes up and down.
  };
  struct Label {
    std::string_view name, value;  ///< An empty name: no label.
  };

  std::string_view name;
  Kind kind;
  std::string_view help;
  std::optional<double> (*value)(const Sample&);  ///< Nothing: the sample does not know it.
  std::array<Label, 2> labels{};                  ///< Beside node="NAME".
};

inline std::optional<double> if_known(const Sample& sample, double value) {
  return sample.resources_known ? std::optional(value) : std::nullopt;
}

/// Limits: 0 means none.
inline std::optional<double> if_limited(double limit) {
  return limit > 0 ? std::optional(limit) : std::nullopt;
}

/// Every figure that is exported, and under which name: the only place to add one. Names follow Prometheus'
/// conventions: base units at the end, counters in _total. Rows of one name stand together, have the same kind and
/// help, and differ in their labels.
inline constexpr Metric metrics[] = {
    {"amp4ec_node_up", Metric::Kind::gauge, "1 while the node's workers answer, else 0.",
     [](const Sample& sample) { return std::optional(sample.alive ? 1.0 : 0.0); }},
    {"amp4ec_node_sample_age_seconds", Metric::Kind::gauge, "Time since the figures of this node were sampled.",
     [](const Sample& sample) {
       const std::chrono::duration<double> age = std::chrono::steady_clock::now() - sample.time;
       return std::optional(age.count());
     }},
    {"amp4ec_node_cpu_cores", Metric::Kind::gauge, "CPUs in use: CPU time over time, in the last sampling interval.",
     [](const Sample& sample) { return if_known(sample, sample.cpu_used.count); }},
    {"amp4ec_node_cpu_quota_cores", Metric::Kind::gauge, "CPUs that the node may use; absent without a limit.",
     [](const Sample& sample) { return if_limited(sample.cpu_quota.count); }},
    {"amp4ec_node_cpu_throttled_ratio", Metric::Kind::gauge,
     "Share of the last sampling interval in which the quota held the node back.",
     [](const Sample& sample) { return if_known(sample, sample.throttled); }},
    {"amp4ec_node_memory_working_set_bytes", Metric::Kind::gauge, "Memory in use without inactive file cache.",
     [](const Sample& sample) { return if_known(sample, static_cast<double>(sample.memory.count)); }},
    {"amp4ec_node_memory_peak_bytes", Metric::Kind::gauge, "Highest use of memory since the node joined.",
     [](const Sample& sample) { return if_known(sample, static_cast<double>(sample.memory_peak.count)); }},
    {"amp4ec_node_memory_limit_bytes", Metric::Kind::gauge, "Memory that the node may use; absent without a limit.",
     [](const Sample& sample) { return if_limited(static_cast<double>(sample.memory_limit.count)); }},
    {"amp4ec_node_oom_kills_total", Metric::Kind::counter, "Processes that the kernel killed for the memory limit.",
     [](const Sample& sample) { return if_known(sample, static_cast<double>(sample.oom_kills)); }},
    {"amp4ec_node_queued_requests", Metric::Kind::gauge, "Requests that wait in front of the node's workers.",
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.queue_depth)); }},
    {"amp4ec_node_requests_total", Metric::Kind::counter, "Requests that the node's workers have done.",
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.requests_done)); }},
    {"amp4ec_node_service_time_mean_seconds", Metric::Kind::gauge,
     "Mean time that a request took in a worker, over the last sampling interval that had one.",
     [](const Sample& sample) {
       return sample.requests_done > 0 ? std::optional(sample.mean_service_us / 1e6) : std::nullopt;
     }},
};

}  // namespace amp4ec::detail
