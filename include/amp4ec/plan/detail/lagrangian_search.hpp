// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/beam_search.hpp>
#include <amp4ec/plan/detail/bottleneck_search.hpp>
#include <amp4ec/plan/detail/relaxation.hpp>

#include <cstddef>

namespace amp4ec::detail {

/// A pipeline of little latency, and a bound that no pipeline is below: rounds of the subgradient method, and after
/// each a beam search by its prices.
class LagrangianSearch {
 public:
  LagrangianSearch(const SearchSpace& space, const Counts& counts, std::size_t max_stages)
      : space_(space), counts_(counts), max_stages_(max_stages), multipliers_(space, counts, max_stages, infinity, 1) {}

  /// work: about how many elementary steps to spend.
  void run(double work) {
    multipliers_.improve(1, 0);
    consider(multipliers_.best_real());
    if (bound_us() == infinity || closed()) return;
    BeamSearch beam(space_, counts_, max_stages_, 60);
    const double pass = steps_a_pass();
    consider(beam.within(infinity));
    for (double spent = 0; spent < work && !closed();) {
      const double before_us = bound_us();
      multipliers_.improve(passes, best_.empty() ? 1.5 * before_us : best_us_);
      consider(multipliers_.best_real());
      consider(beam.shortest(multipliers_.path(), multipliers_.prices(), infinity));
      spent += 1.3 * static_cast<double>(passes) * pass;
      if (bound_us() < before_us * (1 + 2e-4)) break;
    }
  }

  [[nodiscard]] const Pieces& best() const noexcept { return best_; }
  [[nodiscard]] double bound_us() const noexcept { return multipliers_.bound(); }
  [[nodiscard]] const Multipliers& multipliers() const noexcept { return multipliers_; }

 private:
  static constexpr std::size_t passes = 30;

  void consider(const Pieces& pieces) {
    if (pieces.empty()) return;
    const double time_us = latency_us(space_, pieces);
    if (time_us >= best_us_) return;
    best_ = pieces;
    best_us_ = time_us;
  }
  [[nodiscard]] bool closed() const { return best_us_ <= bound_us() * (1 + 1e-9); }

  [[nodiscard]] double steps_a_pass() const {
    double steps = 0;
    double kinds = 0;
    for (std::size_t k = 0; k < counts_.size(); ++k) {
      if (counts_[k] == 0) continue;
      ++kinds;
      for (std::size_t from = 0; from < space_.end(); ++from) {
        steps += static_cast<double>(space_.reach(k, from) - from);
      }
    }
    return steps + (space_.linked() ? kinds * kinds * static_cast<double>(space_.end()) : 0);
  }

  const SearchSpace& space_;
  const Counts& counts_;
  std::size_t max_stages_;
  Multipliers multipliers_;
  Pieces best_;
  double best_us_ = infinity;
};

}  // namespace amp4ec::detail
