// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/sample.hpp>

#include <array>
#include <chrono>
#include <cstdint>
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

inline std::optional<double> if_known(bool known, double value) {
  return known ? std::optional(value) : std::nullopt;
}

inline std::optional<double> if_networked(const Sample& sample, std::uint64_t value) {
  return sample.network_known ? std::optional(static_cast<double>(value)) : std::nullopt;
}

/// Service times: there is none before the first request.
inline std::optional<double> if_any_done(const Sample& sample, double microseconds) {
  return sample.requests_done > 0 ? std::optional(microseconds / 1e6) : std::nullopt;
}

inline double seconds(std::chrono::microseconds time) {
  return std::chrono::duration<double>(time).count();
}

inline constexpr std::string_view service_time_help = "Quantiles of the time that a request took in a worker.";
inline constexpr std::string_view ring_help = "Messages that the node's workers exchanged through shared memory.";
inline constexpr std::string_view pressure_help =
    "Share of the time in which some or all tasks of the node waited for a resource.";
inline constexpr std::string_view network_help = "Through the interfaces of the node's network namespace.";

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
     [](const Sample& sample) { return if_known(sample.cpu_known, sample.cpu_used.count); }},
    {"amp4ec_node_cpu_quota_cores", Metric::Kind::gauge, "CPUs that the node may use; absent without a limit.",
     [](const Sample& sample) { return if_limited(sample.cpu_quota.count); }},
    {"amp4ec_node_cpu_throttled_ratio", Metric::Kind::gauge,
     "Share of the last sampling interval in which the quota held the node back.",
     [](const Sample& sample) { return if_known(sample.resources_known, sample.throttled); }},
    {"amp4ec_node_cpu_seconds_total", Metric::Kind::counter, "CPU time that the node has used since it joined.",
     [](const Sample& sample) { return if_known(sample.cpu_known, seconds(sample.cpu_time)); }},
    {"amp4ec_node_cpu_throttled_seconds_total", Metric::Kind::counter,
     "Time that the quota held the node back since it joined, summed over the CPUs.",
     [](const Sample& sample) { return if_known(sample.resources_known, seconds(sample.throttled_time)); }},
    {"amp4ec_node_memory_working_set_bytes", Metric::Kind::gauge, "Memory in use without inactive file cache.",
     [](const Sample& sample) { return if_known(sample.memory_known, static_cast<double>(sample.memory.count)); }},
    {"amp4ec_node_memory_current_bytes", Metric::Kind::gauge, "Memory in use, file cache included.",
     [](const Sample& sample) {
       return if_known(sample.memory_known, static_cast<double>(sample.memory_current.count));
     }},
    {"amp4ec_node_memory_peak_bytes", Metric::Kind::gauge, "Highest use of memory since the node joined.",
     [](const Sample& sample) {
       return if_known(sample.memory_peak_known, static_cast<double>(sample.memory_peak.count));
     }},
    {"amp4ec_node_memory_limit_bytes", Metric::Kind::gauge, "Memory that the node may use; absent without a limit.",
     [](const Sample& sample) { return if_limited(static_cast<double>(sample.memory_limit.count)); }},
    {"amp4ec_node_oom_kills_total", Metric::Kind::counter, "Processes that the kernel killed for the memory limit.",
     [](const Sample& sample) { return if_known(sample.oom_kills_known, static_cast<double>(sample.oom_kills)); }},
    {"amp4ec_node_queued_requests", Metric::Kind::gauge, "Requests that wait in front of the node's workers.",
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.queue_depth)); }},
    {"amp4ec_node_requests_total", Metric::Kind::counter, "Requests that the node's workers have done.",
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.requests_done)); }},
    {"amp4ec_node_service_time_mean_seconds", Metric::Kind::gauge,
     "Mean time that a request took in a worker, over the last sampling interval that had one.",
     [](const Sample& sample) { return if_any_done(sample, sample.mean_service_us); }},
    {"amp4ec_node_service_time_seconds",
     Metric::Kind::gauge,
     service_time_help,
     [](const Sample& sample) { return if_any_done(sample, sample.p50_service_us); },
     {{{"quantile", "0.5"}}}},
    {"amp4ec_node_service_time_seconds",
     Metric::Kind::gauge,
     service_time_help,
     [](const Sample& sample) { return if_any_done(sample, sample.p90_service_us); },
     {{{"quantile", "0.9"}}}},
    {"amp4ec_node_service_time_seconds",
     Metric::Kind::gauge,
     service_time_help,
     [](const Sample& sample) { return if_any_done(sample, sample.p99_service_us); },
     {{{"quantile", "0.99"}}}},
    {"amp4ec_node_stalled", Metric::Kind::gauge, "1 while a worker of the node has work and shows no sign of life.",
     [](const Sample& sample) { return std::optional(sample.state == NodeState::stalled ? 1.0 : 0.0); }},
    {"amp4ec_node_ring_bytes_total",
     Metric::Kind::counter,
     ring_help,
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.ring_received.count)); },
     {{{"direction", "received"}}}},
    {"amp4ec_node_ring_bytes_total",
     Metric::Kind::counter,
     ring_help,
     [](const Sample& sample) { return std::optional(static_cast<double>(sample.ring_sent.count)); },
     {{{"direction", "sent"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.cpu_pressure.some); },
     {{{"resource", "cpu"}, {"waiting", "some"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.cpu_pressure.full); },
     {{{"resource", "cpu"}, {"waiting", "full"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.memory_pressure.some); },
     {{{"resource", "memory"}, {"waiting", "some"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.memory_pressure.full); },
     {{{"resource", "memory"}, {"waiting", "full"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.io_pressure.some); },
     {{{"resource", "io"}, {"waiting", "some"}}}},
    {"amp4ec_node_pressure_ratio",
     Metric::Kind::gauge,
     pressure_help,
     [](const Sample& sample) { return if_known(sample.pressure_known, sample.io_pressure.full); },
     {{{"resource", "io"}, {"waiting", "full"}}}},
    {"amp4ec_node_page_faults_total", Metric::Kind::counter, "Page faults since the node joined, major ones included.",
     [](const Sample& sample) { return if_known(sample.page_faults_known, static_cast<double>(sample.page_faults)); }},
    {"amp4ec_node_major_page_faults_total", Metric::Kind::counter,
     "Page faults since the node joined that had to wait for a disk.",
     [](const Sample& sample) {
       return if_known(sample.page_faults_known, static_cast<double>(sample.major_page_faults));
     }},
    {"amp4ec_node_network_bytes_total",
     Metric::Kind::counter,
     network_help,
     [](const Sample& sample) { return if_networked(sample, sample.network.received.count); },
     {{{"direction", "received"}}}},
    {"amp4ec_node_network_bytes_total",
     Metric::Kind::counter,
     network_help,
     [](const Sample& sample) { return if_networked(sample, sample.network.sent.count); },
     {{{"direction", "sent"}}}},
    {"amp4ec_node_network_packets_total",
     Metric::Kind::counter,
     network_help,
     [](const Sample& sample) { return if_networked(sample, sample.network.packets_received); },
     {{{"direction", "received"}}}},
    {"amp4ec_node_network_packets_total",
     Metric::Kind::counter,
     network_help,
     [](const Sample& sample) { return if_networked(sample, sample.network.packets_sent); },
     {{{"direction", "sent"}}}},
};

}  // namespace amp4ec::detail
