// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/stage_worker.hpp"

#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/ipc/event_fd.hpp>
#include <amp4ec/ipc/input_arena.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace amp4ec::detail {

/// The host's ends of the edges of one worker, and what it can see of the others.
struct HostEnds {
  std::optional<ipc::EdgeProducer> inputs;  ///< Only for workers that a route begins with.
  std::optional<ipc::EdgeConsumer> results;
  std::map<std::uint8_t, ipc::EdgeGauge> incoming;  ///< Of the edges that lead to the worker, by who sends.

  /// Messages that the worker has not let go of.
  [[nodiscard]] std::uint64_t held() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& entry : incoming) sum += entry.second.held();
    return sum;
  }
};

/// How the workers of a session are connected, by worker id. Makes fresh edges for workers when the session opens and
/// for each that comes in the place of another: an edge that a dead worker touched is never used again.
struct Wiring {
  struct Pair {
    std::uint8_t from;
    std::uint8_t to;
    Bytes message;
  };
  struct Ends {
    Bytes result;               ///< The largest answer; 0: it only reports errors.
    bool takes_inputs = false;  ///< A route begins with it.
  };

  std::uint32_t slots;  ///< Of every edge: as many as requests in flight.
  ipc::InputArena inputs;
  ipc::EventFd bell;  ///< The host's: rung by every worker that has something for it.
  std::vector<Ends> ends;
  std::vector<Pair> pairs;
  std::chrono::nanoseconds timeout;  ///< For a worker to take an edge: it may be executing a request.

  /// Connects a worker with the host. @error as StageWorker::connect, SystemCall.
  [[nodiscard]] Result<HostEnds> connect_host(StageWorker& worker) const;

  /// Connects two workers; the gauge is of the edge, which leads to `to`.
  [[nodiscard]] Result<ipc::EdgeGauge> connect(const Pair& pair, StageWorker& from, StageWorker& to) const;
};

}  // namespace amp4ec::detail
