// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/amp4ec_greedy.hpp>
#include <amp4ec/plan/even.hpp>
#include <amp4ec/plan/optimal.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace amp4ec {

/// A way to plan: anything that makes a plan of a problem, or says why there is none. The built-in ones keep no state,
/// so one may be called from several threads; they block until they are done.
using Strategy = std::function<Result<Plan>(const Problem&)>;

/// The names that `make_strategy` serves; the first is the default.
inline constexpr std::string_view strategy_names[] = {"optimal", "amp4ec-greedy", "even"};

/// The built-in strategy of this name. @error InvalidArgument lists the names; NotSupported for those still to come.
inline Result<Strategy> make_strategy(std::string_view name) {
  if (name == "optimal") return Strategy(plan_optimal);
  if (name == "amp4ec-greedy") return Strategy(plan_amp4ec_greedy);
  if (name == "even") return Strategy(plan_even);
  std::string names;
  for (const std::string_view known : strategy_names) names += fmt::format("{}{}", names.empty() ? "" : ", ", known);
  for (const std::string_view later : {"amp4ec-capability", "edgeshard-latency", "edgeshard-throughput"}) {
    if (name != later) continue;
    return Error{Errc::NotSupported,
                 fmt::format("strategy '{}' comes in a later version; this one has {}", name, names)};
  }
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not a strategy; use one of {}", name, names)};
}

}  // namespace amp4ec
