// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/stage_worker.hpp"

#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/ipc/input_arena.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace amp4ec::detail {

/// The host's ends of the edges of one worker.
struct HostEnds {
  std::optional<ipc::EdgeProducer> inputs;  ///< Only for workers that a route begins with.
  std::optional<ipc::EdgeConsumer> results;
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
  ipc::Bell bell;  ///< The host's: rung by every worker that has something for it.
  std::vector<Ends> ends;
  std::vector<Pair> pairs;
  std::chrono::nanoseconds timeout;  ///< For a worker to take an edge: it may be executing a request.

  /// Whether an edge leads from one to the other.
  [[nodiscard]] bool are_neighbours(std::uint8_t a, std::uint8_t b) const noexcept {
    return std::ranges::any_of(
        pairs, [&](const Pair& pair) { return (pair.from == a && pair.to == b) || (pair.from == b && pair.to == a); });
  }

  /// Connects a worker with the host. @error as StageWorker::connect, SystemCall.
  [[nodiscard]] Result<HostEnds> connect_host(StageWorker& worker) const;

  /// Connects two workers. @error as above.
  [[nodiscard]] Result<void> connect(const Pair& pair, StageWorker& from, StageWorker& to) const;
};

}  // namespace amp4ec::detail
