// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/evaluate.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The valid cuts that are not forbidden, ascending; cut i lies after layer i.
inline std::vector<std::size_t> valid_cuts(const LayerGraph& graph, std::span<const std::size_t> forbidden) {
  std::vector<std::size_t> valid;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    if (graph.cuts[i].valid && std::ranges::find(forbidden, i) == forbidden.end()) valid.push_back(i);
  }
  return valid;
}

/// Moves wished cuts (ascending) to different valid ones, in order, each to the nearest that leaves enough behind it
/// for the rest; the earlier one when two are as near. Fewer where fewer are valid.
inline std::vector<std::size_t> snap_cuts(const LayerGraph& graph, const std::vector<std::size_t>& wished,
                                          std::span<const std::size_t> forbidden = {}) {
  std::vector<std::size_t> valid = valid_cuts(graph, forbidden);
  if (valid.size() <= wished.size()) return valid;
  std::vector<std::size_t> snapped;
  std::size_t first = 0;
  for (std::size_t k = 0; k < wished.size(); ++k) {
    const std::size_t last = valid.size() - (wished.size() - k);
    const auto distance = [&](std::size_t i) {
      return valid[i] > wished[k] ? valid[i] - wished[k] : wished[k] - valid[i];
    };
    std::size_t nearest = first;
    for (std::size_t i = first; i <= last; ++i) {
      if (distance(i) < distance(nearest)) nearest = i;
    }
    snapped.push_back(valid[nearest]);
    first = nearest + 1;
  }
  return snapped;
}

/// How many stages a strategy with one pipeline aims at: one a node, within the problem's bound.
inline std::size_t stages_wanted(const Problem& problem) {
  const std::size_t nodes = problem.nodes.size();
  return problem.max_stages == 0 ? nodes : std::min(nodes, problem.max_stages);
}

/// @error NotSupported if several pipelines or pins are asked for, which the strategy of this name does not make.
inline Result<void> check_single_pipeline(const Problem& problem, std::string_view strategy) {
  if (problem.pipelines > 1) {
    return Error{Errc::NotSupported, fmt::format("strategy '{}' makes one pipeline, not {}; use 'optimal' for several",
                                                 strategy, problem.pipelines)};
  }
  if (!problem.pins.empty()) {
    return Error{Errc::NotSupported,
                 fmt::format("strategy '{}' does not place pinned layers; use 'optimal' or drop the pins", strategy)};
  }
  return {};
}

/// The plan of one pipeline that cuts nearest to the wished places, its stages on the nodes in the given order.
/// Forbidden cuts and bounds are honoured.
/// @error PlanInfeasible if a stage does not fit its node; NotSupported if several pipelines or pins are asked for.
inline Result<Plan> single_pipeline(const Problem& problem, std::string_view strategy,
                                    const std::vector<std::size_t>& wished_cuts) {
  if (const auto single = check_single_pipeline(problem, strategy); !single) return single.error();
  const LayerGraph& graph = problem.profile.graph;
  Plan plan;
  plan.model_hash = graph.model_hash;
  plan.strategy = strategy;
  plan.objective = to_string(problem.objective);

  std::vector<std::size_t> ends = snap_cuts(graph, wished_cuts, problem.forbidden_cuts);
  ends.push_back(graph.layers.size() - 1);
  Pipeline pipeline;
  std::size_t first = 0;
  for (std::size_t s = 0; s < ends.size(); ++s) {
    Stage stage;
    stage.node = problem.nodes[s].name;
    stage.first_layer = std::exchange(first, ends[s] + 1);
    stage.last_layer = ends[s];
    pipeline.stages.push_back(std::move(stage));
  }
  plan.pipelines.push_back(std::move(pipeline));

  auto evaluated = evaluate(std::move(plan), problem.profile, problem.nodes, problem.links);
  if (!evaluated) return evaluated;
  if (const auto fit = check_memory(*evaluated, problem.nodes); !fit) {
    return Error{Errc::PlanInfeasible, fmt::format("strategy '{}' does not look at memory: {}; or use 'optimal'",
                                                   strategy, fit.error().message)};
  }
  return evaluated;
}

}  // namespace amp4ec::detail
