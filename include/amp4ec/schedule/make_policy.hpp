// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/schedule/least_outstanding_policy.hpp>
#include <amp4ec/schedule/literal_policy.hpp>
#include <amp4ec/schedule/round_robin_policy.hpp>
#include <amp4ec/schedule/shortest_completion_policy.hpp>
#include <amp4ec/schedule/weighted_policy.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <memory>
#include <string_view>

namespace amp4ec {

/// The names that `make_policy` takes.
inline constexpr std::array<std::string_view, 5> policy_names = {"amp4ec", "amp4ec-literal", "least-outstanding",
                                                                 "shortest-completion", "round-robin"};

/// The policy of that name, as `--policy NAME` gives it. @error InvalidArgument with the names that exist.
inline Result<std::unique_ptr<Policy>> make_policy(std::string_view name) {
  using Made = std::unique_ptr<Policy>;
  if (name == "amp4ec") return Made(std::make_unique<WeightedPolicy>());
  if (name == "amp4ec-literal") return Made(std::make_unique<LiteralPolicy>());
  if (name == "least-outstanding") return Made(std::make_unique<LeastOutstandingPolicy>());
  if (name == "shortest-completion") return Made(std::make_unique<ShortestCompletionPolicy>());
  if (name == "round-robin") return Made(std::make_unique<RoundRobinPolicy>());
  return Error{Errc::InvalidArgument,
               fmt::format("no scheduling policy is called '{}'; there are {}", name, fmt::join(policy_names, ", "))};
}

}  // namespace amp4ec
