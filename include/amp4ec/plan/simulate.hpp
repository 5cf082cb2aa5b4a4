// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/plan_network.hpp>
#include <amp4ec/plan/detail/simulator.hpp>
#include <amp4ec/plan/simulate_options.hpp>
#include <amp4ec/plan/simulation.hpp>

#include <exception>
#include <span>

namespace amp4ec {

/// Runs requests through a plan in simulated time, and tells what became of them.
///
/// - A worker (the stages with the same node and layers) is one server with a queue, first come first served. It takes
///   `Stage::time_us` for a request when it is alone on its node, more or less by `SimulateOptions::service`. Workers
///   of a node share its quota, see `QuotaModel`; what one alone cannot use of it (each runs on one CPU at most) is
///   there for the others. What comes to it while other nodes are busy takes longer, by `Prediction::slowdown` where
///   all are.
/// - A link carries one message at a time for latency + bytes / bandwidth, first come first served, for all pipelines
///   together. Where no link is given, sending takes no time.
/// - At most `max_in_flight` requests are under way. Further ones wait, in their order, or are refused past
///   `max_waiting`. The router picks the route of each when it is sent, among the routes that are alive.
/// - When a worker or link fails, what it held is gone, and all requests on routes through it are sent again, from the
///   beginning, on any live route, as a session does; earlier attempts still keep the workers that they are on busy,
///   and their answers are not counted. Where none is alive they wait for a repair. When no route will ever come back
///   they are lost, and new ones refused. Requests that kill workers are not modelled: here, workers fail by
///   themselves.
///
/// Deterministic: the same arguments make the same result; arrivals, service times, periods and failures each have
/// random numbers of their own. Memory limits are not looked at, see `check_memory`. Blocks; some 100 to 200 ns a step
/// of a request, and a look at every route for each.
/// @error InvalidArgument for options, nodes or links; PlanInvalid for a plan that contradicts the nodes or itself or
/// has no times; NotSupported when `max_events` are past.
inline Result<Simulation> simulate(const Plan& plan, std::span<const NodeSpec> nodes,
                                   std::span<const LinkSpec> links = {}, const SimulateOptions& options = {}) {
  if (const auto valid = validate_nodes(nodes); !valid) return valid.error();
  if (const auto valid = validate_links(links, nodes); !valid) return valid.error();
  if (const auto valid = detail::validate_simulated_plan(plan, nodes); !valid) return valid.error();
  if (const auto valid = validate_simulate_options(options, nodes, links); !valid) return valid.error();
  try {
    return detail::Simulator(plan, nodes, links, options).run();
  } catch (const std::exception& exception) {
    return Error{Errc::InvalidArgument, fmt::format("the simulation stopped: {}", exception.what())};
  }
}

}  // namespace amp4ec
