// SPDX-License-Identifier: Apache-2.0
#include "runtime/session_wiring.hpp"

#include "runtime/control_protocol.hpp"

namespace amp4ec::detail {

namespace {

/// Room for a message, or for the text of an error in its place; shapes that vary a little need not fail.
Bytes slot_size(Bytes message) {
  return message + 4_KiB;
}

/// The host's end of an edge between it and a worker; `direction` is the worker's.
template <class End>
Result<End> attach_host(const ipc::Edge& edge, StageWorker& worker, Direction direction, const Wiring& wiring) {
  if (auto connected = worker.connect(direction, host_id, edge, wiring.bell, wiring.timeout); !connected) {
    return connected.error();
  }
  auto bell = worker.bell().duplicate();
  if (!bell) return bell.error();
  return End::attach(edge, std::move(*bell));
}

/// What waits on the edge is what waits for the worker.
Result<void> watch(const ipc::Edge& edge, std::uint8_t producer, StageWorker& worker) {
  auto gauge = edge.gauge();
  if (!gauge) return gauge.error();
  worker.incoming().set(producer, std::move(*gauge));
  return {};
}

}  // namespace

Result<HostEnds> Wiring::connect_host(StageWorker& worker) const {
  HostEnds host;
  const Ends& wanted = ends[worker.id()];
  auto out = ipc::Edge::create(slots, slot_size(wanted.result));
  if (!out) return out.error();
  auto results = attach_host<ipc::EdgeConsumer>(*out, worker, Direction::Out, *this);
  if (!results) return results.error();
  host.results.emplace(std::move(*results));
  if (!wanted.takes_inputs) return host;

  if (auto given = worker.give_inputs(inputs, timeout); !given) return given.error();
  auto in = ipc::Edge::create(slots, 1_B);  // What it would carry lies in the arena.
  if (!in) return in.error();
  auto producer = attach_host<ipc::EdgeProducer>(*in, worker, Direction::In, *this);
  if (!producer) return producer.error();
  host.inputs.emplace(std::move(*producer));
  if (auto watched = watch(*in, host_id, worker); !watched) return watched.error();
  return host;
}

Result<void> Wiring::connect(const Pair& pair, StageWorker& from, StageWorker& to) const {
  auto edge = ipc::Edge::create(slots, slot_size(pair.message));
  if (!edge) return edge.error();
  // The consumer first: what the producer then sends is taken.
  if (auto in = to.connect(Direction::In, pair.from, *edge, from.bell(), timeout); !in) return in;
  if (auto out = from.connect(Direction::Out, pair.to, *edge, to.bell(), timeout); !out) return out;
  return watch(*edge, pair.from, to);
}

}  // namespace amp4ec::detail
