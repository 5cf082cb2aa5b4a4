// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/answer.hpp>
#include <amp4ec/plan/detail/label_search.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace amp4ec::detail {

/// At most so many nodes of each kind are of use to one pipeline: a stage spans a boundary at least.
inline Counts useful_counts(const SearchSpace& space, std::size_t max_stages) {
  const std::size_t stages = max_stages == 0 ? space.end() : std::min(space.end(), max_stages);
  Counts counts;
  for (std::size_t k = 0; k < space.kinds(); ++k) {
    const bool useful = space.capacity(k) >= 0;
    counts.push_back(useful ? static_cast<std::uint32_t>(std::min(stages, space.kind(k).nodes.size())) : 0);
  }
  return counts;
}

/// Labels after which a search for least latency gives up: as many as twelve different nodes and two hundred boundaries
/// can have (about 500 MB, if no bound cut them down), and fewer where that would take minutes.
inline std::size_t most_labels(const CountVectors& vectors) {
  return vectors.size() <= 4096 || vectors.kinds() <= 4 ? 6'000'000 : 200'000;
}
inline constexpr std::size_t most_labels_for_ties = 200'000;

/// The exact search for one pipeline on at most these nodes.
class OnePipeline {
 public:
  OnePipeline(SearchSpace space, Counts counts, std::size_t max_stages)
      : space_(std::move(space)), vectors_(std::move(counts)), max_stages_(max_stages) {}

  /// Whether the sets of boundaries of all vectors of nodes are few enough: 128 MB.
  [[nodiscard]] bool affordable() const { return FinishSets::words_needed(space_, vectors_) <= 0x1p24; }

  [[nodiscard]] Answer solve(Objective objective) {
    switch (objective) {
      case Objective::throughput: return most_throughput();
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

 private:
  [[nodiscard]] Answer most_throughput() const {
    const auto found = BottleneckSearch(space_, vectors_, max_stages_).run();
    if (!found) return {{}, true};
    return {{shortest_within(space_, vectors_, found->time_us, max_stages_, most_labels_for_ties)}, true};
  }

  [[nodiscard]] Answer least_latency() const {
    const FinishSets finish(space_, vectors_, infinity, max_stages_, false);
    if (!finish.feasible()) return {{}, true};
    LagrangianSearch bounds(space_, vectors_.most(), max_stages_);
    bounds.run(4e8);
    const Pieces known = bounds.best().empty() ? finish.trace() : bounds.best();
    LabelSearch search(space_, vectors_, finish, infinity, max_stages_);
    search.run(bounds.multipliers(), known, most_labels(vectors_));
    return {{search.best()}, search.complete(), search.lower_bound_us()};
  }

  [[nodiscard]] Answer least_memory() {
    const auto largest = [&](const Pieces& pieces) {
      Bytes most;
      for (const Piece& piece : pieces) most = std::max(most, space_.segments().memory(piece.from, piece.to));
      return most.count;
    };
    const auto test = [&](std::uint64_t most) {
      space_.bound_memory(Bytes{most});
      const FinishSets finish(space_, vectors_, infinity, max_stages_, true);
      return finish.feasible() ? finish.trace() : Pieces{};
    };
    const Pieces any = test(unbounded.count);
    if (any.empty()) return {{}, true};
    std::uint64_t low = stage_memory_bound(space_, vectors_.most(), max_stages_).count;
    std::uint64_t high = largest(any);
    for (std::uint64_t stride = 1 + low / 256; low + stride < high; stride *= 2) {  // the bound is close as a rule
      const Pieces pieces = test(low + stride);
      if (!pieces.empty()) {
        high = largest(pieces);
        break;
      }
      low += stride + 1;
    }
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      const Pieces pieces = test(middle);
      if (pieces.empty()) {
        low = middle + 1;
      } else {
        high = largest(pieces);
      }
    }
    space_.bound_memory(Bytes{high});
    return most_throughput();
  }

  SearchSpace space_;
  CountVectors vectors_;
  std::size_t max_stages_;
};

}  // namespace amp4ec::detail
