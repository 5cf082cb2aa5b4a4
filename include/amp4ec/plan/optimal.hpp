// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/infeasible.hpp>
#include <amp4ec/plan/detail/optimal_search.hpp>
#include <amp4ec/plan/evaluate.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec {

/// How many nodes `optimal` takes.
inline constexpr std::size_t optimal_max_nodes = 1024;

/// Strategy `optimal`: the best plan there is under the model of `evaluate`, over which nodes are used, their order,
/// the cuts (valid, measured and not forbidden ones) and how many pipelines, whole-model replicas included, within CPU,
/// memory and link limits, pins and bounds. Each node serves one pipeline, with one stage (`shared_nodes`: several).
///
/// Ties. Throughput: each pipeline is the one of least latency that its nodes can form at its rate. Latency, the
/// quickest pipeline's: most throughput of all pipelines together, as if CPUs did not slow one another down. Memory,
/// the largest that a node must hold: most throughput within it. On large problems ties are broken as well as the
/// search can.
///
/// `gap` is |value - bound| / bound for the objective's value and a proven bound that no plan passes; 0 if no plan is
/// better. It says nothing of ties. Exact, for every objective: any number of pipelines for at least 60 layers and 5
/// nodes (up to 12 different ones and about 200 layers); one pipeline over 200 layers for at least 12 different nodes,
/// or any number of 4 kinds (equal speed, memory, links and no pins) up to about 40 of each. Latency gives up after
/// millions of labels, shared nodes after some ten thousand beginnings of a pipeline: about 8 layers and 4 nodes.
/// Beyond, the gap is at most 5 % on the instances of tests/plan/large_instance.hpp; shared nodes have no such promise.
///
/// Blocks; takes one thread. For v vectors of counts (2^n for n different nodes), k kinds and b places to cut: one
/// pipeline O(v k b log) with 64 boundaries a step, any number O(v k b^2) and O(3^n) to share the nodes out, large
/// problems O(n k b^2) with a factor of some hundreds. docs/planning.md has the formulas.
///
/// @error PlanInfeasible names the binding limit, or says that it is not proven that there is no plan; NotSupported for
/// more than `optimal_max_nodes` nodes; and what `validate_problem` refuses.
inline Result<Plan> plan_optimal(const Problem& problem) {
  if (const auto valid = validate_problem(problem); !valid) return valid.error();
  if (problem.nodes.size() > optimal_max_nodes) {
    return Error{Errc::NotSupported,
                 fmt::format("strategy 'optimal' plans for up to {} nodes and here are {}; plan for "
                             "groups of them apart",
                             optimal_max_nodes, problem.nodes.size())};
  }
  const detail::Answer answer = detail::search_optimal(problem);
  if (answer.pipelines.empty()) return detail::explain_infeasible(problem, answer.exact);

  auto plan = evaluate(detail::to_plan(problem, answer), problem.profile, problem.nodes, problem.links);
  if (!plan) return plan;
  plan->gap = detail::gap(problem.objective, *plan, answer);
  if (problem.objective == Objective::throughput) plan->advice = detail::advise_on_splitting(problem, *plan, answer);
  return plan;
}

}  // namespace amp4ec
