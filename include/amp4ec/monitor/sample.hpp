// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace amp4ec {

/// One node at one moment. "The interval" is the time since the node's previous sample. The monitor judges nothing:
/// there is no threshold in here.
struct Sample {
  std::string node;
  std::chrono::steady_clock::time_point time;

  // What the node's group has used. Zero where `resources_known` is false.
  bool resources_known = false;  ///< False for a node without a group, and when its reading failed.
  Cpus cpu_used;                 ///< Mean over the interval.
  double throttled = 0;          ///< Share of the interval, 0 to 1, that the node was held back by its quota.
  Bytes memory;                  ///< Working set.
  Bytes memory_peak;             ///< Since the node joined.
  std::uint64_t oom_kills = 0;   ///< Since the node joined.

  // The node's limits; 0: none.
  Cpus cpu_quota;
  Bytes memory_limit;

  // What its workers do.
  bool alive = false;               ///< Its workers answer. False as well when their reading failed.
  std::uint64_t queue_depth = 0;    ///< Requests that wait in front of its workers.
  std::uint64_t requests_done = 0;  ///< Since the node joined.
  double mean_service_us = 0;       ///< Over the requests done in the interval; with none, as before. 0: never any.
};

}  // namespace amp4ec
