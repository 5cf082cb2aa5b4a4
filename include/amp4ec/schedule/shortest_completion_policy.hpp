// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/policy.hpp>

#include <algorithm>
#include <limits>
#include <string_view>

namespace amp4ec {

/// "shortest-completion": the route whose slowest worker would finish one more request first, at
/// (requests in flight + 1) * mean service time; of equal ones, the smallest sum over the route.
///
/// A worker without history is tried first while it is idle, so that it gets one. While its first request runs nothing
/// is known about it, and it comes last: otherwise the slowest worker, which is the last to answer, would be sent the
/// most.
class ShortestCompletionPolicy final : public Policy {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "shortest-completion"; }

  [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
    if (const SkipReason reason = skip_unusable(candidate); reason != SkipReason::none) return {reason, {}};
    double slowest = 0;
    double sum = 0;
    double in_flight = 0;
    bool untried = false;
    bool unanswered = false;
    for (const WorkerState* worker : candidate.workers) {
      const bool history = worker->mean_service_us > 0;
      const double completion = history ? (1.0 + worker->in_flight) * worker->mean_service_us : 0.0;
      slowest = std::max(slowest, completion);
      sum += completion;
      in_flight += worker->in_flight;
      untried |= !history && worker->in_flight == 0;
      unanswered |= !history && worker->in_flight > 0;
    }
    if (unanswered) return {SkipReason::none, {-std::numeric_limits<double>::infinity(), -in_flight}};
    if (untried) return {SkipReason::none, {0, -sum}};
    return {SkipReason::none, {-slowest, -sum}};
  }
};

}  // namespace amp4ec
