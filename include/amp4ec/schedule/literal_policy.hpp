// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/weighted_policy.hpp>

#include <algorithm>
#include <limits>
#include <string_view>

namespace amp4ec {

/// "amp4ec-literal": node selection exactly as published (arXiv 2504.00407 and the authors' code), for comparison: no
/// bound on any term, and the skip rules in their order. Published for single nodes; a route scores as its worst
/// worker. Where the formula divides by zero (nothing required) the quotient counts as 1.
class LiteralPolicy final : public Policy {
 public:
  static constexpr double load_limit = 0.8;
  static constexpr double latency_limit_us = 100'000;

  [[nodiscard]] std::string_view name() const noexcept override { return "amp4ec-literal"; }

  [[nodiscard]] static constexpr ScoreTerms terms(const WorkerState& worker) noexcept {
    return {.resources = (detail::cpu_ratio(worker) + detail::memory_ratio(worker)) / 2,
            .load = 1 - worker.load,
            .performance = detail::performance_term(worker),
            .balance = detail::balance_term(worker)};
  }

  [[nodiscard]] static constexpr SkipReason skip(const WorkerState& worker) noexcept {
    if (!worker.alive) return SkipReason::dead;
    if (worker.load > load_limit) return SkipReason::overloaded;
    if (worker.latency_us > latency_limit_us) return SkipReason::too_slow;
    if (worker.cpu_available < worker.cpu_required) return SkipReason::lacks_cpu;
    if (worker.memory_available < worker.memory_required) return SkipReason::lacks_memory;
    return SkipReason::none;
  }

  [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
    if (const SkipReason reason = skip_unusable(candidate); reason != SkipReason::none) return {reason, {}};
    double worst = std::numeric_limits<double>::infinity();
    for (const WorkerState* worker : candidate.workers) {
      if (const SkipReason reason = skip(*worker); reason != SkipReason::none) return {reason, {}};
      worst = std::min(worst, terms(*worker).weighted(ScoreWeights{}));
    }
    return {SkipReason::none, {.value = worst}};
  }
};

}  // namespace amp4ec
