// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/search_space.hpp>

#include <vector>

namespace amp4ec::detail {

/// What a search found. No pipelines: nothing was found, and if `exact` there is nothing.
struct Answer {
  std::vector<Pieces> pipelines;
  bool exact = false;      ///< No plan is better.
  double bound = 0;        ///< If not: no plan has more requests a second, less latency (us) or smaller stages (bytes).
  double best_split = -1;  ///< Requests a second of the best pipeline of several stages; negative: not known.
};

}  // namespace amp4ec::detail
