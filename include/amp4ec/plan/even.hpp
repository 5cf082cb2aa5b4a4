// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/single_pipeline.hpp>

#include <cstddef>
#include <vector>

namespace amp4ec {

/// Strategy `even`: one pipeline, as many layers on each node as on the others, in the given order of nodes, each cut
/// moved to the nearest valid one. Looks at neither times nor objective: the plain thing to compare with.
/// @error PlanInfeasible, NotSupported (several pipelines), and what `validate_problem` refuses.
inline Result<Plan> plan_even(const Problem& problem) {
  if (const auto valid = validate_problem(problem); !valid) return valid.error();
  const std::size_t layers = problem.profile.graph.layers.size();
  const std::size_t stages = std::min(detail::stages_wanted(problem), layers);
  std::vector<std::size_t> cuts;
  for (std::size_t s = 1; s < stages; ++s) cuts.push_back(s * layers / stages - 1);
  return detail::single_pipeline(problem, "even", cuts);
}

}  // namespace amp4ec
