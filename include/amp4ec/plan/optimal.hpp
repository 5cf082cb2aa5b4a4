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
