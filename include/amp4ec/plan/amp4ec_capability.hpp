// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/single_pipeline.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace amp4ec {

/// AMP4EC's capability shares (arXiv 2504.00407, as third parties read it): S_i = 0.6 cpu_i / cpu_max + 0.4 mem_i /
/// mem_max, P_i = S_i / sum(S). One a node, in the given order; they add up to 1. A node without a memory limit counts
/// as the largest limit among the nodes, so all count alike where none has a limit. Quotas past one CPU count in full,
/// although a stage does not become faster by them: the published formula.
/// @pre valid nodes (`validate_nodes`).
inline std::vector<double> capability_shares(std::span<const NodeSpec> nodes) {
  double most_cpus = 0;
  std::uint64_t most_memory = 0;
  for (const NodeSpec& node : nodes) {
    most_cpus = std::max(most_cpus, node.cpus.count);
    most_memory = std::max(most_memory, node.memory.count);
  }
  std::vector<double> shares;
  double sum = 0;
  for (const NodeSpec& node : nodes) {
    const bool limited = node.memory.count > 0;
    const double memory = limited ? static_cast<double>(node.memory.count) / static_cast<double>(most_memory) : 1.0;
    shares.push_back(0.6 * node.cpus.count / most_cpus + 0.4 * memory);
    sum += shares.back();
  }
  for (double& share : shares) share /= sum;
  return shares;
}

namespace detail {

/// What the layers up to each cut cost, and at the end all of them. In AMP4EC's layer costs where the profile lists
/// leaf modules that cost anything, a leaf's cost lying in its first layer; else in the layers' measured times.
inline std::vector<double> costs_before_cuts(const Profile& profile) {
  const LayerGraph& graph = profile.graph;
  std::vector<double> costs(graph.layers.size(), 0);
  double sum = 0;
  for (const LeafModule& leaf : graph.leaves) {
    costs[std::min(leaf.first_layer, costs.size() - 1)] += leaf.cost;
    sum += leaf.cost;
  }
  if (sum <= 0) costs = profile.layer_us;
  for (std::size_t i = 1; i < costs.size(); ++i) costs[i] += costs[i - 1];
  return costs;
}

}  // namespace detail

/// Strategy `amp4ec-capability`: one pipeline, the nodes in the given order, each with layers in proportion to its
/// `capability_shares`. The cut behind a node is the valid one before which the layers' cost is nearest to the sum of
/// the shares so far (the earlier one when two are as near), so that what one node has too much of is not the last
/// one's to bear. Every node gets a layer while there are valid cuts enough; with fewer, or with `max_stages`, the
/// first nodes share the model.
///
/// The cost is AMP4EC's own (`LeafModule::cost`), because this strategy is there to show what the published method
/// gives; the measured times of layers stand in for models without leaf modules. It ignores times otherwise, links, the
/// objective, and how much memory layers need: a node's memory counts for its share alone.
/// @error PlanInfeasible, NotSupported (several pipelines), and what `validate_problem` refuses.
inline Result<Plan> plan_amp4ec_capability(const Problem& problem) {
  if (const auto valid = validate_problem(problem); !valid) return valid.error();
  const std::vector<std::size_t> valid = detail::valid_cuts(problem.profile.graph, problem.forbidden_cuts);
  const std::size_t stages = std::min(detail::stages_wanted(problem), valid.size() + 1);
  const std::vector<double> shares = capability_shares(problem.nodes.first(stages));
  const std::vector<double> costs = detail::costs_before_cuts(problem.profile);

  std::vector<std::size_t> cuts;
  std::size_t first = 0;
  double share = 0;
  for (std::size_t s = 0; s + 1 < stages; ++s) {
    share += shares[s];
    const auto distance = [&](std::size_t i) { return std::abs(costs[valid[i]] - share * costs.back()); };
    std::size_t nearest = first;
    // Leaves a cut to each stage behind, but the last.
    for (std::size_t i = first; i + stages <= valid.size() + s + 1; ++i) {
      if (distance(i) < distance(nearest)) nearest = i;
    }
    cuts.push_back(valid[nearest]);
    first = nearest + 1;
  }
  return detail::single_pipeline(problem, "amp4ec-capability", cuts);
}

}  // namespace amp4ec
