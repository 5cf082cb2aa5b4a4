// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/optimal_search.hpp>
#include <amp4ec/plan/evaluate.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec {

/// How many nodes `optimal` takes: its work doubles with each.
inline constexpr std::size_t optimal_max_nodes = 12;

namespace detail {

/// Which limit keeps every plan from fitting. Only for problems without a plan.
inline Error explain_infeasible(const Problem& problem, const Segments& segments) {
  const auto infeasible = [](std::string what) { return Error{Errc::PlanInfeasible, std::move(what)}; };
  const auto solvable = [&](std::size_t pipelines, std::size_t max_stages) {
    const Problem relaxed{problem.profile, problem.nodes, problem.links, Objective::throughput, pipelines, max_stages};
    return !OptimalSearch(relaxed, segments).run().pipelines.empty();
  };

  const auto& largest = *std::ranges::max_element(
      problem.nodes, {}, [](const NodeSpec& node) { return node.memory.count == 0 ? ~0ULL : node.memory.count; });
  const auto& layers = problem.profile.graph.layers;
  for (std::size_t k = 0; k < segments.end(); ++k) {
    const Bytes needed = segments.memory(k, k + 1);
    if (fits(largest, needed)) continue;
    const std::size_t first = segments.first_layer(k);
    const std::size_t last = segments.last_layer(k + 1);
    const std::string what = first == last ? fmt::format("layer '{}'", layers[first].name)
                                           : fmt::format("layers '{}' to '{}', between which no measured cut is valid",
                                                         layers[first].name, layers[last].name);
    return infeasible(fmt::format("no node holds {}: needs at least {}, largest node '{}' has {}", what,
                                  format_bytes(needed), largest.name, format_bytes(largest.memory)));
  }
  if (problem.max_stages > 0 && solvable(problem.pipelines, 0)) {
    return infeasible(
        fmt::format("no plan fits with at most {} stages a pipeline, but one with more does; raise the "
                    "bound on stages",
                    problem.max_stages));
  }
  if (problem.pipelines > 1 && solvable(0, problem.max_stages)) {
    return infeasible(fmt::format("{} pipelines at once do not fit these nodes' memory, but fewer do; ask for fewer",
                                  problem.pipelines));
  }
  Bytes total;
  for (const NodeSpec& node : problem.nodes) total += node.memory;
  const Bytes whole = segments.memory(0, segments.end());
  return infeasible(fmt::format(
      "the nodes' memory is too small even together: the whole model needs {}, a worker alone {}, the {} nodes have {} "
      "in all",
      format_bytes(whole), format_bytes(segments.memory(0, 0)), problem.nodes.size(), format_bytes(total)));
}

/// Says what splitting brings, by the best rate of each set of nodes.
inline std::string advise_on_splitting(const Problem& problem, const Plan& plan, const std::vector<double>& rates) {
  double replicas = 0;
  double best_split = 0;
  for (NodeMask mask = 1; mask < rates.size(); ++mask) {
    if (std::has_single_bit(mask)) {
      replicas += rates[mask];
    } else {
      best_split = std::max(best_split, rates[mask]);
    }
  }
  const bool split = std::ranges::any_of(plan.pipelines, [](const Pipeline& p) { return p.stages.size() > 1; });
  if (split) {
    if (replicas <= 0) return plan.advice + "; no node holds the whole model";
    return fmt::format("{}; whole-model replicas alone would give {:.1f} requests/s", plan.advice, replicas);
  }
  const std::string alternative =
      best_split > 0 ? fmt::format("the best pipeline of two or more stages {:.1f}", best_split) : "no split fits";
  if (plan.pipelines.size() == 1) {
    const char* opening = problem.nodes.size() == 1 ? "there is one node only" : "splitting does not help here";
    return fmt::format("{}: the whole model on '{}' gives {:.1f} requests/s, {}", opening,
                       plan.pipelines[0].stages[0].node, plan.predicted.throughput_rps, alternative);
  }
  return fmt::format(
      "splitting does not help here: one whole-model replica on each of {} nodes gives {:.1f} requests/s, {}",
      plan.pipelines.size(), plan.predicted.throughput_rps, alternative);
}

}  // namespace detail

/// Strategy `optimal`: the best plan there is under the model of `evaluate`, over which nodes are used, their order,
/// the cuts (valid and measured ones) and how many pipelines, whole-model replicas included, each node in at most one
/// stage, within CPU, memory and link limits. With objective throughput, each pipeline is also the one of least latency
/// among those that its nodes can form with its rate. `gap` is 0.
/// Blocks; O(2^n n b^2 + 3^n) for n nodes and b places to cut.
/// @error PlanInfeasible names the binding limit; NotSupported for more than `optimal_max_nodes` nodes; and what
/// `validate_problem` refuses.
inline Result<Plan> plan_optimal(const Problem& problem) {
  if (const auto valid = validate_problem(problem); !valid) return valid.error();
  if (problem.nodes.size() > optimal_max_nodes) {
    return Error{Errc::NotSupported,
                 fmt::format("strategy 'optimal' is exact for up to {} nodes and here are {}; plan for fewer, or use "
                             "'even' or 'amp4ec-greedy'",
                             optimal_max_nodes, problem.nodes.size())};
  }
  if (problem.pipelines > problem.nodes.size()) {
    return Error{Errc::PlanInfeasible, fmt::format("{} pipelines need as many nodes, there are {}; ask for fewer",
                                                   problem.pipelines, problem.nodes.size())};
  }

  const detail::Segments segments(problem.profile);
  const detail::Solution best = detail::OptimalSearch(problem, segments).run();
  if (best.pipelines.empty()) return detail::explain_infeasible(problem, segments);

  Plan plan;
  plan.model_hash = problem.profile.graph.model_hash;
  plan.strategy = "optimal";
  plan.objective = to_string(problem.objective);
  for (const detail::Pieces& pieces : best.pipelines) {
    Pipeline& pipeline = plan.pipelines.emplace_back();
    for (const detail::Piece& piece : pieces) {
      Stage& stage = pipeline.stages.emplace_back();
      stage.node = problem.nodes[piece.node].name;
      stage.first_layer = segments.first_layer(piece.from);
      stage.last_layer = segments.last_layer(piece.to);
    }
  }
  auto evaluated = evaluate(std::move(plan), problem.profile, problem.nodes, problem.links);
  if (!evaluated) return evaluated;
  evaluated->gap = 0;
  if (problem.objective == Objective::throughput) {
    evaluated->advice = detail::advise_on_splitting(problem, *evaluated, best.rates);
  }
  return evaluated;
}

}  // namespace amp4ec
