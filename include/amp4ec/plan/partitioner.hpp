// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/strategy.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace amp4ec {

/// Makes plans: what to be best at, and how. Plain settings; a const Partitioner may be used from several threads.
struct Partitioner {
  Strategy strategy = plan_optimal;
  Objective objective = Objective::throughput;
  std::size_t pipelines = 0;      ///< Exactly so many; 0: as many as are best, one for a model that keeps state.
  std::size_t max_stages = 0;     ///< At most so many stages a pipeline; 0: no bound.
  std::size_t max_pipelines = 0;  ///< At most so many pipelines; 0: no bound.
  std::vector<LinkSpec> links;    ///< Where none is given, sending costs nothing.
  std::vector<Pin> pins;          ///< Layers that have a node of their own.
  std::vector<std::size_t> forbidden_cuts;  ///< Indices into graph.cuts where no plan may cut.
  bool shared_nodes = false;                ///< A node may hold several stages of its pipeline.

  /// Blocks until the plan is made: milliseconds for a few nodes, up to about two seconds for many.
  /// @error PlanInfeasible names the binding limit; others as the strategy documents.
  [[nodiscard]] Result<Plan> plan(const Profile& profile, std::span<const NodeSpec> nodes) const {
    const bool stateful = std::ranges::any_of(profile.graph.layers, &Layer::stateful);
    if (stateful && pipelines > 1) {
      return Error{
          Errc::PlanInfeasible,
          fmt::format("the model keeps state, which one worker has to own: not {} pipelines but one", pipelines)};
    }
    return strategy(problem(profile, nodes));
  }

  /// What `plan` asks the strategy, for `explain`. Borrows this partitioner's links beside profile and nodes.
  [[nodiscard]] Problem problem(const Profile& profile, std::span<const NodeSpec> nodes) const {
    const bool stateful = std::ranges::any_of(profile.graph.layers, &Layer::stateful);
    return {profile,    nodes,         links, objective,      stateful ? 1 : pipelines,
            max_stages, max_pipelines, pins,  forbidden_cuts, shared_nodes};
  }
};

}  // namespace amp4ec
