// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <cstdint>

namespace amp4ec {

/// What a scheduling policy sees of one worker: a plain copy, filled by whoever watches the worker.
struct WorkerState {
  bool alive = true;            ///< False: no request may go there.
  Cpus capacity;                ///< CPU quota of the worker's node.
  Cpus cpu_available;           ///< Part of it that is unused now.
  Cpus cpu_required;            ///< What one request needs. 0: unknown, never lacking.
  Bytes memory_available;       ///< Below the node's limit and unused now.
  Bytes memory_required;        ///< What one request needs. 0: unknown, never lacking.
  double load = 0;              ///< 0 idle to 1 saturated.
  double mean_service_us = 0;   ///< Mean time to execute a request, without queueing. 0: no history yet.
  double latency_us = 0;        ///< To reach the worker: one hop.
  std::uint32_t in_flight = 0;  ///< Requests sent to it and not yet answered.
};

}  // namespace amp4ec
