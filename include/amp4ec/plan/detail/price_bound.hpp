// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/bottleneck_search.hpp>
#include <amp4ec/plan/detail/relaxation.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// An upper bound on the requests a second of any number of pipelines. `RateBound` lets every node run at its own pace;
/// here the nodes of a pipeline wait for its longest stage or link, which counts where a stage has few layers. Let
/// nodes have prices: if no pipeline has more than r requests a second for each unit that its nodes cost, no plan has
/// more than r times what all nodes cost. `PricedPath` finds the cheapest pipeline of a bottleneck, the bottlenecks are
/// searched by bisection, and the subgradient method makes the nodes of the pipeline that sets r dearer. These are the
/// prices of the linear program that chooses among all pipelines, each for a part of the time.
class PriceBound {
 public:
  PriceBound(const SearchSpace& space, const Counts& counts)
      : space_(space),
        counts_(counts),
        // Rounding must not put it above the best.
        quickest_us_(std::max(bottleneck_bound_us(space, counts, 0) * (1 - 1e-12), shortest_us)) {}

  /// prices: of one node of each kind, to begin with. enough: stop when the bound is no higher. Returns requests a
  /// second; `infinity` if there are no steps.
  [[nodiscard]] double find(std::vector<double> prices, std::size_t steps, double enough) {
    const double aim_us = 1e6 / enough;
    double best_us = 0;
    double pace = 0.2;
    for (std::size_t step = 0; step < steps; ++step) {
      normalise(prices);
      const double bound_us = evaluate(prices);
      if (bound_us <= best_us) pace *= 0.7;
      best_us = std::max(best_us, bound_us);
      if (best_us >= aim_us) break;
      std::vector<double> direction;
      double norm = 0;
      for (std::size_t k = 0; k < prices.size(); ++k) {
        direction.push_back(slowest_us_ * used_[k] - bound_us * counts_[k]);
        norm += direction[k] * direction[k];
      }
      if (norm <= 1e-18 * bound_us * bound_us) break;  // nothing but rounding is left to gain
      const double stride = pace * (aim_us - bound_us) / norm;
      for (std::size_t k = 0; k < prices.size(); ++k) {
        prices[k] = std::max(1e-9 * prices[k], prices[k] + stride * direction[k]);  // never all zero
      }
    }
    return 1e6 / best_us * (1 + 1e-9);
  }

  /// Elementary operations of a step at most, to decide how many to take.
  static double effort(const SearchSpace& space, const Counts& counts) {
    double path = space.linked() ? static_cast<double>(space.end() * space.kinds() * space.kinds()) : 0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      for (std::size_t from = 0; from < space.end() && counts[k] > 0; ++from) {
        path += static_cast<double>(space.reach(k, from) - from);
      }
    }
    return path * most_paths;
  }

 private:
  static constexpr std::size_t most_paths = 200;

  /// The pipelines whose bottleneck lies between two times, and what they cost at least.
  struct Range {
    double from_us = 0;
    double to_us = 0;
    double cost = 0;
  };

  /// All nodes together cost one.
  void normalise(std::vector<double>& prices) const {
    double sum = 0;
    for (std::size_t k = 0; k < prices.size(); ++k) sum += prices[k] * counts_[k];
    for (double& price : prices) price /= sum;
  }

  /// Every pipeline has at least this product of bottleneck and cost, which is one over its rate for a unit of cost.
  [[nodiscard]] double evaluate(const std::vector<double>& prices) {
    least_us_ = infinity;
    std::multimap<double, Range> open;  // by the least product that a range may hold
    const auto add = [&](const Range& range) { open.emplace(range.from_us * range.cost, range); };
    add({quickest_us_, infinity, cheapest(prices, infinity)});
    for (std::size_t paths = 1; paths < most_paths && open.begin()->first < least_us_ * (1 - 2e-3); ++paths) {
      const Range range = open.begin()->second;
      open.erase(open.begin());
      const double middle_us = range.to_us == infinity ? 2 * range.from_us : std::sqrt(range.from_us * range.to_us);
      add({range.from_us, middle_us, cheapest(prices, middle_us)});
      add({middle_us, range.to_us, range.cost});
    }
    return open.begin()->first;
  }

  /// The least that a pipeline with at most this bottleneck costs; notes the one of least product.
  [[nodiscard]] double cheapest(const std::vector<double>& prices, double most_us) {
    PricedPath path(space_, counts_, most_us, 0);
    path.solve(prices);
    const double cost = path.cost();
    if (cost == infinity) return cost;
    const Pieces pieces = path.trace();
    const double time_us = std::max(bottleneck_us(space_, pieces), quickest_us_);
    if (time_us * cost >= least_us_) return cost;
    least_us_ = time_us * cost;
    slowest_us_ = time_us;
    used_.assign(prices.size(), 0);
    for (const Piece& piece : pieces) ++used_[piece.kind];
    return cost;
  }

  const SearchSpace& space_;
  const Counts& counts_;
  double quickest_us_;          // no pipeline has a smaller bottleneck
  double least_us_ = infinity;  // the least product found by the present prices,
  double slowest_us_ = 0;       // the bottleneck of the relaxed pipeline that has it,
  std::vector<double> used_;    // and its nodes of each kind
};

}  // namespace amp4ec::detail
