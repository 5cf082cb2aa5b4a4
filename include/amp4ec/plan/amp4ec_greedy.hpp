// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/single_pipeline.hpp>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace amp4ec {

/// AMP4EC's partitioner (arXiv 2504.00407, section on model partitioning, and the authors' code), to the letter: with
/// T = sum(costs) / parts, walk the leaf modules, close a part as soon as its cost reaches T and start again from
/// zero; what is left is the last part. Returns how many leaves each part has; they add up to `costs.size()`.
/// Usually `parts` numbers, but fewer if large leaves are few, and more if the parts meet T exactly before the end.
inline std::vector<std::size_t> greedy_leaf_parts(std::span<const double> costs, std::size_t parts) {
  const double target =
      std::accumulate(costs.begin(), costs.end(), 0.0) / static_cast<double>(std::max<std::size_t>(parts, 1));
  std::vector<std::size_t> leaves;
  std::size_t count = 0;
  double cost = 0;
  for (const double leaf : costs) {
    ++count;
    cost += leaf;
    if (cost < target) continue;
    leaves.push_back(count);
    count = 0;
    cost = 0;
  }
  if (count > 0) leaves.push_back(count);
  return leaves;
}

/// Strategy `amp4ec-greedy`: `greedy_leaf_parts` with one part a node (or `max_stages`), parts on the nodes in the
/// given order. A boundary between leaves becomes the cut before the next leaf's first layer, moved to the nearest
/// valid one; parts past the number of nodes join the last. Looks at neither times, objective nor the nodes' sizes:
/// the published method, kept to compare with.
/// @error PlanInfeasible, NotSupported (several pipelines), and what `validate_problem` refuses; ProfileInvalid if the
/// model has no leaf modules.
inline Result<Plan> plan_amp4ec_greedy(const Problem& problem) {
  if (const auto valid = validate_problem(problem); !valid) return valid.error();
  const LayerGraph& graph = problem.profile.graph;
  if (graph.leaves.empty()) {
    return Error{Errc::ProfileInvalid, "the profile lists no leaf modules, which amp4ec-greedy counts; use 'even'"};
  }
  std::vector<double> costs;
  for (const LeafModule& leaf : graph.leaves) costs.push_back(leaf.cost);
  const std::size_t stages = detail::stages_wanted(problem);
  std::vector<std::size_t> parts = greedy_leaf_parts(costs, stages);
  parts.resize(std::min(parts.size(), stages));

  std::vector<std::size_t> cuts;
  std::size_t leaf = 0;
  for (std::size_t p = 0; p + 1 < parts.size(); ++p) {
    leaf += parts[p];
    const std::size_t layer = graph.leaves[leaf].first_layer;
    // Leaves that run no operator of their own may share a boundary with their neighbour or lie at an end of the model.
    const bool inside = layer > 0 && layer < graph.layers.size();
    if (inside && (cuts.empty() || layer - 1 > cuts.back())) cuts.push_back(layer - 1);
  }
  return detail::single_pipeline(problem, "amp4ec-greedy", cuts);
}

}  // namespace amp4ec
