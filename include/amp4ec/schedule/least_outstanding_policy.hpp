// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/policy.hpp>

#include <algorithm>
#include <string_view>

namespace amp4ec {

/// "least-outstanding": the route whose fullest worker has the fewest requests in flight; of equal ones, the smallest
/// sum.
class LeastOutstandingPolicy final : public Policy {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "least-outstanding"; }

  [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
    if (const SkipReason reason = skip_unusable(candidate); reason != SkipReason::none) return {reason, {}};
    double fullest = 0;
    double sum = 0;
    for (const WorkerState* worker : candidate.workers) {
      fullest = std::max(fullest, static_cast<double>(worker->in_flight));
      sum += worker->in_flight;
    }
    return {SkipReason::none, {-fullest, -sum}};
  }
};

}  // namespace amp4ec
