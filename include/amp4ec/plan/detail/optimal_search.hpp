// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/packing.hpp>

#include <bit>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace amp4ec::detail {

using Pieces = std::vector<Piece>;

/// What the search found. No pipelines: nothing fits.
struct Solution {
  std::vector<Pieces> pipelines;
  /// Requests a second of the best pipeline on exactly each set of nodes; 0 where there is none.
  std::vector<double> rates;
};

/// The exact search behind `optimal`: one `PipelineSearch` says what each set of nodes can do, a `Packing` shares the
/// nodes out.
class OptimalSearch {
 public:
  OptimalSearch(const Problem& problem, const Segments& segments)
      : problem_(problem), segments_(segments), all_(bit(problem.nodes.size()) - 1) {}

  [[nodiscard]] Solution run() const {
    switch (problem_.objective) {
      case Objective::throughput: return most_throughput({});
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

 private:
  /// The rate of each set of nodes; -infinity where it has no pipeline, so that `Packing` leaves it alone.
  [[nodiscard]] std::vector<double> worths(const PipelineSearch<BottleneckCost>& search) const {
    std::vector<double> result(std::size_t{all_} + 1, -infinity);
    for (NodeMask mask = 1; mask <= all_; ++mask) {
      const double bottleneck_us = search.best(mask);
      if (bottleneck_us < infinity) result[mask] = rate_rps(bottleneck_us);
    }
    return result;
  }

  [[nodiscard]] static std::vector<double> rates(std::vector<double> worth) {
    for (double& rate : worth) rate = std::max(rate, 0.0);
    return worth;
  }

  [[nodiscard]] Solution most_throughput(Caps caps) const {
    const PipelineSearch<BottleneckCost> search(problem_, segments_, all_, caps);
    const std::vector<double> worth = worths(search);
    const Packing packing(worth, problem_.pipelines, 0, std::plus<>());
    if (packing.best(all_) <= 0) return {};
    Solution solution{{}, rates(worth)};
    for (const NodeMask set : packing.sets(all_)) solution.pipelines.push_back(shortest(search, set, caps));
    return solution;
  }

  /// Of the pipelines on these nodes, or some of them, with the best bottleneck: the one with the least latency.
  [[nodiscard]] Pieces shortest(const PipelineSearch<BottleneckCost>& search, NodeMask set, Caps caps) const {
    caps.time_us = search.best(set);
    const PipelineSearch<LatencyCost> by_latency(problem_, segments_, set, caps);
    NodeMask chosen = 0;
    for (NodeMask mask = 1; mask <= set; ++mask) {
      if ((mask & ~set) == 0 && by_latency.best(mask) < by_latency.best(chosen)) chosen = mask;
    }
    return chosen == 0 ? search.trace(set) : by_latency.trace(chosen);
  }

  [[nodiscard]] Solution least_memory() const {
    const PipelineSearch<MemoryCost> search(problem_, segments_, all_);
    std::vector<double> worth(std::size_t{all_} + 1, -infinity);
    for (NodeMask mask = 1; mask <= all_; ++mask) worth[mask] = -search.best(mask);
    // More pipelines never make the largest stage smaller: where any number will do, one decides.
    const Packing packing(worth, std::max<std::size_t>(problem_.pipelines, 1), infinity,
                          [](double a, double b) { return std::min(a, b); });
    if (packing.best(all_) == -infinity) return {};
    return most_throughput({infinity, Bytes{static_cast<std::uint64_t>(-packing.best(all_))}});
  }

  [[nodiscard]] Solution least_latency() const {
    const PipelineSearch<LatencyCost> by_latency(problem_, segments_, all_);
    const PipelineSearch<BottleneckCost> by_rate(problem_, segments_, all_);
    const std::vector<double> worth = worths(by_rate);
    const bool alone = problem_.pipelines == 1;
    const Packing others(worth, problem_.pipelines > 1 ? problem_.pipelines - 1 : 0, 0, std::plus<>());

    NodeMask first = 0;
    double latency_us = infinity;
    double throughput = 0;
    for (NodeMask mask = 1; mask <= all_; ++mask) {
      const LatencyCost::Value value = by_latency.best(mask);
      const double rest = alone ? 0 : others.best(all_ & ~mask);
      if (value.sum_us == infinity || rest == -infinity) continue;
      const double total = rate_rps(value.longest_us) + rest;
      if (value.sum_us > latency_us || (value.sum_us == latency_us && total <= throughput)) continue;
      first = mask;
      latency_us = value.sum_us;
      throughput = total;
    }
    if (first == 0) return {};
    Solution solution{{by_latency.trace(first)}, rates(worth)};
    if (alone) return solution;
    for (const NodeMask set : others.sets(all_ & ~first)) solution.pipelines.push_back(shortest(by_rate, set, {}));
    return solution;
  }

  const Problem& problem_;
  const Segments& segments_;
  NodeMask all_;
};

}  // namespace amp4ec::detail
