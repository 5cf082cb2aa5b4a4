// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/policy.hpp>

#include <algorithm>
#include <limits>
#include <string_view>

namespace amp4ec {

/// Weights of the score's terms; the defaults are the published ones. They need not add up to 1.
struct ScoreWeights {
  double resources = 0.2;
  double load = 0.2;
  double performance = 0.1;
  double balance = 0.5;
};

/// The terms of AMP4EC's score for one worker (arXiv 2504.00407, node selection), before weighting.
struct ScoreTerms {
  double resources = 0;    ///< S_R = (cpu available / required + memory available / required) / 2
  double load = 0;         ///< S_L = 1 - load
  double performance = 0;  ///< S_P = 1 / (1 + mean service time in ms); 0.5 without history
  double balance = 0;      ///< S_B = 1 / (1 + 2 * requests in flight)

  [[nodiscard]] constexpr double weighted(const ScoreWeights& weights) const noexcept {
    return weights.resources * resources + weights.load * load + weights.performance * performance +
           weights.balance * balance;
  }
};

namespace detail {

/// To [0, 1]; 0 for what is not a number.
constexpr double unit_interval(double x) noexcept {
  return x > 0 ? std::min(x, 1.0) : 0.0;
}

/// How many times over the need is met; 1 when nothing is needed.
constexpr double cpu_ratio(const WorkerState& worker) noexcept {
  return worker.cpu_required.count > 0 ? worker.cpu_available.count / worker.cpu_required.count : 1.0;
}
constexpr double memory_ratio(const WorkerState& worker) noexcept {
  if (worker.memory_required.count == 0) return 1.0;
  return static_cast<double>(worker.memory_available.count) / static_cast<double>(worker.memory_required.count);
}

/// Milliseconds: the papers leave the unit open, and measure load against 100 ms.
constexpr double performance_term(const WorkerState& worker) noexcept {
  return worker.mean_service_us > 0 ? 1.0 / (1.0 + worker.mean_service_us / 1000.0) : 0.5;
}
constexpr double balance_term(const WorkerState& worker) noexcept {
  return 1.0 / (1.0 + 2.0 * worker.in_flight);
}

}  // namespace detail

/// "amp4ec": the published weighted score with each term in [0, 1]. As published, S_R has no bound and swamps the rest,
/// so that nearly every request goes to the largest node; here a surplus of one resource does not make up for the lack
/// of another either. A route scores as its worst worker. Only dead workers are skipped: under full load every worker
/// is "overloaded", and refusing requests is the business of admission.
class WeightedPolicy final : public Policy {
 public:
  explicit WeightedPolicy(ScoreWeights weights = {}) noexcept : weights_(weights) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "amp4ec"; }

  [[nodiscard]] static constexpr ScoreTerms terms(const WorkerState& worker) noexcept {
    using detail::unit_interval;
    return {.resources = (unit_interval(detail::cpu_ratio(worker)) + unit_interval(detail::memory_ratio(worker))) / 2,
            .load = unit_interval(1 - worker.load),
            .performance = detail::performance_term(worker),
            .balance = detail::balance_term(worker)};
  }

  [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
    if (const SkipReason reason = skip_unusable(candidate); reason != SkipReason::none) return {reason, {}};
    double worst = std::numeric_limits<double>::infinity();
    for (const WorkerState* worker : candidate.workers) worst = std::min(worst, terms(*worker).weighted(weights_));
    return {SkipReason::none, {.value = worst}};
  }

 private:
  ScoreWeights weights_;
};

}  // namespace amp4ec
