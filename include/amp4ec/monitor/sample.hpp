// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace amp4ec {

/// What a node's workers are up to.
enum class NodeState : std::uint8_t {
  down,     ///< None of its workers lives, or they cannot be read.
  stalled,  ///< A worker that has work has shown no sign of life for longer than `NodeSource::stall_after`.
  up,       ///< All others.
};

constexpr std::string_view to_string(NodeState state) noexcept {
  switch (state) {
    case NodeState::down: return "down";
    case NodeState::stalled: return "stalled";
    case NodeState::up: return "up";
  }
  return "unknown";
}

/// Shares of the time, 0 to 1, in which tasks waited for a resource (the kernel's pressure stall information).
struct PressureShare {
  double some = 0;  ///< At least one task waited.
  double full = 0;  ///< All tasks that could have run waited.
};

/// What went through network interfaces.
struct NetworkTraffic {
  Bytes received;
  Bytes sent;
  std::uint64_t packets_received = 0;
  std::uint64_t packets_sent = 0;
};

/// The figures of one node at one moment. "The interval" is the time since the node's previous sample; "the slow
/// interval" that between the two last readings of the slow tier. Trivially copyable.
struct NodeFigures {
  std::chrono::steady_clock::time_point time;

  // What the node's group has used. Zero where `resources_known` is false.
  bool resources_known = false;                ///< False for a node without a group, and when its reading failed.
  bool cpu_known = false;                      ///< With it, and where the kernel counts CPU time for the group.
  bool memory_known = false;                   ///< With it, and where the kernel counts memory for the group.
  Cpus cpu_used;                               ///< Mean over the interval.
  double cpu_share = 0;                        ///< `cpu_used` in parts of `cpu_quota`; 0 without a quota.
  std::chrono::microseconds cpu_time{};        ///< Since the node joined.
  double throttled = 0;                        ///< Share of the interval, 0 to 1, that its quota held the node back.
  std::chrono::microseconds throttled_time{};  ///< Since the node joined; summed over the CPUs.
  Bytes memory;                                ///< Working set: `memory_current` minus the inactive file cache, as it
                                               ///< was when memory last changed, or the slow tier was read.
  Bytes memory_current;                        ///< All that the node is charged for, file cache included.

  // The node's limits; 0: none.
  Cpus cpu_quota;
  Bytes memory_limit;

  // What its workers do. The sums count from when the node joined.
  NodeState state = NodeState::down;
  bool alive = false;               ///< At least one worker lives: `state` is not `down`.
  std::uint64_t queue_depth = 0;    ///< Requests that wait in front of its workers.
  std::uint64_t requests_done = 0;  ///< Errors included.
  double mean_service_us = 0;       ///< Over the requests done in the interval; with none, as before. 0: never any.
  Bytes ring_received;              ///< Messages that its workers took from rings.
  Bytes ring_sent;                  ///< Messages that its workers wrote into rings.

  // The slow tier: as it was at `slow_time`, repeated until it is read again.
  std::chrono::steady_clock::time_point slow_time;
  bool details_known = false;      ///< As `resources_known`, for what stands below, up to the page faults.
  bool memory_peak_known = false;  ///< As `memory_known`, as the two below; v2 has a peak since Linux 5.19.
  bool oom_kills_known = false;
  bool page_faults_known = false;
  bool pressure_known = false;  ///< As these; v1 has none, nor has a kernel that was started with psi=0.
  Bytes memory_peak;            ///< Since the node's group was made; file cache included.
  std::uint64_t oom_kills = 0;  ///< Processes killed for memory since the node's group was made.
  PressureShare cpu_pressure;   ///< Over the slow interval, as the two below.
  PressureShare memory_pressure;
  PressureShare io_pressure;
  std::uint64_t page_faults = 0;        ///< Since the node joined, major ones included.
  std::uint64_t major_page_faults = 0;  ///< Those that had to wait for a disk. Since the node joined.
  // Over the requests done in the last 5 to 10 s (where the slow interval is longer, in the last one to two of them);
  // with none, as before. 0: never any. To within 6 %.
  double p50_service_us = 0;
  double p90_service_us = 0;
  double p99_service_us = 0;
  bool network_known = false;  ///< As `resources_known`, for `network`.
  NetworkTraffic network;      ///< Since the node joined.
};
static_assert(std::is_trivially_copyable_v<NodeFigures>);

/// The figure of a source that a user added.
struct UserFigure {
  std::string name;
  std::optional<double> value;  ///< Empty when the last reading failed, and before the first.
};

/// One node at one moment. The monitor judges nothing: but for `state`, there is no threshold in here.
struct Sample : NodeFigures {
  std::string node;
  std::vector<UserFigure> user;  ///< In the order in which the sources were added.
};

}  // namespace amp4ec
