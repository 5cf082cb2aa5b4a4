// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/policy.hpp>

#include <string_view>

namespace amp4ec {

/// "round-robin": all live routes are equal, and equal candidates take turns.
class RoundRobinPolicy final : public Policy {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "round-robin"; }
  [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
    return {skip_unusable(candidate), {}};
  }
};

}  // namespace amp4ec
