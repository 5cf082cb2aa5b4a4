// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/simulate.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

namespace amp4ec {

/// Which figure of `LatencyFigures` decides.
enum class LatencyFigure : std::uint8_t { mean, p50, p90, p99, max };

constexpr double figure_of(const LatencyFigures& figures, LatencyFigure figure) noexcept {
  switch (figure) {
    case LatencyFigure::mean: return figures.mean;
    case LatencyFigure::p50: return figures.p50;
    case LatencyFigure::p90: return figures.p90;
    case LatencyFigure::p99: return figures.p99;
    case LatencyFigure::max: return figures.max;
  }
  return figures.mean;
}

/// One of several plans, and how it fared.
struct RankedPlan {
  std::size_t candidate = 0;  ///< Its place among the candidates.
  Simulation simulation;
};

/// Simulates each candidate at this arrival rate and orders them, the best first: those that keep up and answer all,
/// by the latency figure; then those that lose or refuse requests, the fewest first; then those whose queue grows, the
/// highest throughput first. Equal ones stay in their order.
///
/// Arrivals are `options.arrivals` when that is `constant` (at this rate instead of its own), otherwise Poisson; they
/// are the same for every candidate, so that the difference is the plans'. Give enough `options.requests`: the
/// sampling error of a mean latency falls with the root of their number.
/// @error InvalidArgument without candidates, and what `simulate` refuses, with the number of the candidate.
inline Result<std::vector<RankedPlan>> rank_by_latency_at(double rate_rps, std::span<const Plan> candidates,
                                                          std::span<const NodeSpec> nodes,
                                                          std::span<const LinkSpec> links = {},
                                                          SimulateOptions options = {},
                                                          LatencyFigure figure = LatencyFigure::mean) {
  if (candidates.empty()) return Error{Errc::InvalidArgument, "there is no plan to rank; give at least one"};
  options.arrivals =
      options.arrivals.kind == ArrivalKind::constant ? Arrivals::constant(rate_rps) : Arrivals::poisson(rate_rps);
  std::vector<RankedPlan> ranked;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    auto simulation = simulate(candidates[c], nodes, links, options);
    if (!simulation) {
      return Error{simulation.error().code, fmt::format("candidate {}: {}", c, simulation.error().message)};
    }
    ranked.push_back({c, std::move(*simulation)});
  }
  const auto order = [figure](const RankedPlan& plan) {
    const Simulation& s = plan.simulation;
    const std::size_t failed = s.lost + s.refused;
    const double decides = s.stable ? figure_of(s.latency_ms, figure) : -s.throughput_rps;
    return std::tuple(!s.stable, failed, decides);
  };
  std::ranges::stable_sort(ranked, [&](const RankedPlan& a, const RankedPlan& b) { return order(a) < order(b); });
  return ranked;
}

}  // namespace amp4ec
