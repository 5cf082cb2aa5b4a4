// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/answer.hpp>
#include <amp4ec/plan/detail/beam_search.hpp>
#include <amp4ec/plan/detail/bottleneck_search.hpp>
#include <amp4ec/plan/detail/lagrangian_search.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The quickest pipeline that a beam of this width finds on these nodes, by bisection; empty if none.
inline Pieces quickest_pipeline(const SearchSpace& space, const Counts& counts, std::size_t max_stages,
                                std::size_t width) {
  BeamSearch beam(space, counts, max_stages, width);
  const double bound_us = bottleneck_bound_us(space, counts, max_stages);
  if (bound_us == infinity) return {};
  double failed_us = std::max(bound_us, shortest_us);
  Pieces best;
  double factor = 1.01;
  for (int step = 0; step < 9 && best.empty(); ++step, factor *= factor) {
    best = beam.within(failed_us * factor);
    if (best.empty()) failed_us *= factor;
  }
  if (best.empty()) best = beam.within(infinity);
  if (best.empty()) return {};
  double best_us = bottleneck_us(space, best);
  while (best_us > failed_us * 1.002) {
    const double middle_us = std::sqrt(best_us * failed_us);
    Pieces pieces = beam.within(middle_us);
    if (pieces.empty()) {
      failed_us = middle_us;
    } else {
      best = std::move(pieces);
      best_us = bottleneck_us(space, best);
    }
  }
  return best;
}

/// One pipeline where the exact search is too large: a beam search finds it, the Lagrangian relaxation says how far it
/// may be from the best. Both bisect over the bottleneck (or the largest stage); a bound counts only once it is proven.
class LargePipeline {
 public:
  LargePipeline(SearchSpace space, Counts counts, std::size_t max_stages)
      : space_(std::move(space)), counts_(std::move(counts)), max_stages_(max_stages) {}

  [[nodiscard]] Answer solve(Objective objective) {
    if (bottleneck_bound_us(space_, counts_, max_stages_) == infinity) return {{}, true};
    switch (objective) {
      case Objective::throughput: return most_throughput();
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

 private:
  static constexpr std::size_t narrow = 20;

  [[nodiscard]] Answer most_throughput() const {
    const Pieces best = quickest_pipeline(space_, counts_, max_stages_, narrow);
    if (best.empty()) return {{}, impossible(space_, infinity)};
    const double best_us = bottleneck_us(space_, best);
    double proven_us = std::max(bottleneck_bound_us(space_, counts_, max_stages_) * (1 - 1e-12), shortest_us);
    double open_us = best_us;
    while (open_us > proven_us * 1.001) {
      const double middle_us = std::sqrt(open_us * proven_us);
      (impossible(space_, middle_us) ? proven_us : open_us) = middle_us;
    }
    return {{best}, best_us <= proven_us * (1 + 1e-9), rate_rps(proven_us)};
  }

  [[nodiscard]] Answer least_latency() const {
    LagrangianSearch search(space_, counts_, max_stages_);
    search.run(8e8);
    if (search.best().empty()) return {{}, search.bound_us() == infinity || impossible(space_, infinity)};
    const double best_us = latency_us(space_, search.best());
    return {{search.best()}, best_us <= search.bound_us() * (1 + 1e-9), search.bound_us()};
  }

  [[nodiscard]] Answer least_memory() {
    const auto largest = [&](const Pieces& pieces) {
      Bytes most;
      for (const Piece& piece : pieces) most = std::max(most, space_.segments().memory(piece.from, piece.to));
      return most.count;
    };
    const auto test = [&](std::uint64_t most) {
      space_.bound_memory(Bytes{most});
      return BeamSearch(space_, counts_, max_stages_, narrow).within(infinity);
    };
    const Pieces any = test(unbounded.count);
    if (any.empty()) return {{}, impossible(space_, infinity)};
    std::uint64_t failed = stage_memory_bound(space_, counts_, max_stages_).count - 1;
    std::uint64_t proven = failed;  // no plan has stages of this size or less
    std::uint64_t best = largest(any);
    while (best - failed > 1 + best / 2000) {
      const std::uint64_t middle = failed + (best - failed) / 2;
      const Pieces pieces = test(middle);
      if (pieces.empty()) {
        failed = middle;
      } else {
        best = largest(pieces);
      }
    }
    for (std::uint64_t open = best; open - proven > 1 + open / 2000;) {
      const std::uint64_t middle = proven + (open - proven) / 2;
      space_.bound_memory(Bytes{middle});
      (impossible(space_, infinity) ? proven : open) = middle;
    }
    space_.bound_memory(Bytes{best});
    Answer answer = most_throughput();
    answer.exact = proven + 1 == best;
    answer.bound = static_cast<double>(proven + 1);
    return answer;
  }

  /// Whether it is proven that no pipeline keeps a bottleneck.
  [[nodiscard]] bool impossible(const SearchSpace& space, double most_us) const {
    // Good prices are what the nodes can take: of time where that is bounded, else of memory.
    Multipliers multipliers(space, counts_, max_stages_, most_us, 0);
    const double whole = std::max(space.segments().weights(space.end()), 1.0);
    std::vector<double> prices;
    for (std::size_t k = 0; k < counts_.size(); ++k) {
      prices.push_back(most_us < infinity ? space.kind(k).speed : std::clamp(space.capacity(k), 0.0, whole));
    }
    multipliers.start_from(std::move(prices));
    multipliers.improve(20, 0);
    return multipliers.bound() > 1e-9;
  }

  SearchSpace space_;
  Counts counts_;
  std::size_t max_stages_;
};

}  // namespace amp4ec::detail
