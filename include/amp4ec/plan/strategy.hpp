// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/amp4ec_capability.hpp>
#include <amp4ec/plan/amp4ec_greedy.hpp>
#include <amp4ec/plan/edgeshard.hpp>
#include <amp4ec/plan/even.hpp>
#include <amp4ec/plan/optimal.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace amp4ec {

/// A way to plan: anything that makes a plan of a problem, or says why there is none. The built-in ones keep no state,
/// so one may be called from several threads; they block until they are done. docs/strategies.md compares them.
using Strategy = std::function<Result<Plan>(const Problem&)>;

/// The names that `make_strategy` serves; the first is the default.
inline constexpr std::string_view strategy_names[] = {"optimal", "amp4ec-greedy",     "amp4ec-capability",
                                                      "even",    "edgeshard-latency", "edgeshard-throughput"};

/// The names as a person reads them: "optimal, amp4ec-greedy, ...".
inline std::string strategy_list() {
  std::string names;
  for (const std::string_view name : strategy_names) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  return names;
}

/// The built-in strategy of this name. @error InvalidArgument lists the names.
inline Result<Strategy> make_strategy(std::string_view name) {
  if (name == "optimal") return Strategy(plan_optimal);
  if (name == "amp4ec-greedy") return Strategy(plan_amp4ec_greedy);
  if (name == "amp4ec-capability") return Strategy(plan_amp4ec_capability);
  if (name == "even") return Strategy(plan_even);
  if (name == "edgeshard-latency") return Strategy(plan_edgeshard_latency);
  if (name == "edgeshard-throughput") return Strategy(plan_edgeshard_throughput);
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not a strategy; use one of {}", name, strategy_list())};
}

}  // namespace amp4ec
