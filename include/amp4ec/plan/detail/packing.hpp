// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/count_vectors.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// How many pipelines a plan may have. `exactly` 0: any number up to `most`; `most` 0: no bound.
struct PipelineBounds {
  std::size_t exactly = 0;
  std::size_t most = 0;
};

/// Chooses disjoint vectors of nodes, one pipeline each, so that their worths combine to the most. Nodes may be left
/// out.
///
/// Dynamic programming over vectors: of the first kind present, one node is left out, or shares a pipeline with some of
/// the others. O(pairs of a vector and one that it contains), which is 3^n for n different nodes; k times that for k
/// pipelines.
class Packing {
 public:
  /// worth[v]: of the best pipeline on exactly these nodes; -infinity where there is none.
  /// combine(worth, worth): must not fall when either grows; `empty` is its neutral element, the worth of no pipeline.
  template <class Combine>
  Packing(const CountVectors& vectors, const std::vector<double>& worth, PipelineBounds bounds, double empty,
          Combine combine)
      : vectors_(vectors) {
    const std::size_t nodes = total(vectors.most());
    const bool exact = bounds.exactly > 0;
    any_ = !exact && (bounds.most == 0 || bounds.most >= nodes);
    levels_.resize(any_ ? 2 : (exact ? bounds.exactly : bounds.most) + 1);
    levels_[0].best.assign(vectors.size(), empty);
    for (std::size_t level = 1; level < levels_.size(); ++level) {
      levels_[level].best.assign(vectors.size(), exact ? impossible : empty);
      levels_[level].chosen.assign(vectors.size(), 0);
      Counts counts(vectors.kinds(), 0);
      for (std::size_t v = 1; v < vectors.size(); ++v) {
        vectors.advance(counts);
        choose(v, counts, level, worth, combine);
      }
    }
  }

  /// The most that these nodes are worth; -infinity if the count cannot be reached.
  [[nodiscard]] double best(std::size_t v) const { return levels_.back().best[v]; }

  /// The vectors that reach it. Only where `best` is not -infinity.
  [[nodiscard]] std::vector<std::size_t> sets(std::size_t v) const {
    std::vector<std::size_t> result;
    std::size_t level = levels_.size() - 1;
    while (v != 0 && level > 0) {
      const std::size_t chosen = levels_[level].chosen[v];
      if (chosen == 0) {
        v -= vectors_.one(first_kind(v));
        continue;
      }
      result.push_back(chosen);
      v -= chosen;
      if (!any_) --level;
    }
    return result;
  }

  /// Elementary steps for one level, to decide whether to start.
  static double steps(const CountVectors& vectors) {
    double pairs = 1;
    for (const double most : vectors.most()) pairs *= (most + 1) * (most + 2) / 2;
    return pairs;
  }

 private:
  static constexpr double impossible = -std::numeric_limits<double>::infinity();

  struct Level {
    std::vector<double> best;
    std::vector<std::size_t> chosen;  // the pipeline that has a node of the first kind; 0: one such node is left out
  };

  [[nodiscard]] std::size_t first_kind(std::size_t v) const {
    std::size_t k = 0;
    while (vectors_.count(v, k) == 0) ++k;
    return k;
  }

  template <class Combine>
  void choose(std::size_t v, const Counts& counts, std::size_t level, const std::vector<double>& worth,
              Combine combine) {
    const std::vector<double>& others = levels_[any_ ? level : level - 1].best;
    double& best = levels_[level].best[v];
    std::size_t& chosen = levels_[level].chosen[v];
    std::size_t first = 0;
    while (counts[first] == 0) ++first;
    best = levels_[level].best[v - vectors_.one(first)];
    // The pipeline's nodes run through all vectors within this one that hold a node of the first kind. From few to
    // many: among equals, the pipeline with fewer stages.
    Counts part(counts.size(), 0);
    part[first] = 1;
    std::size_t number = vectors_.one(first);
    while (true) {
      const double together = combine(worth[number], others[v - number]);
      if (together > best) {
        best = together;
        chosen = number;
      }
      std::size_t k = first;
      for (; k < counts.size(); ++k) {
        if (part[k] < counts[k]) break;
        const std::uint32_t least = k == first ? 1 : 0;
        number -= (part[k] - least) * vectors_.one(k);
        part[k] = least;
      }
      if (k == counts.size()) break;
      ++part[k];
      number += vectors_.one(k);
    }
  }

  const CountVectors& vectors_;
  bool any_ = true;
  std::vector<Level> levels_;
};

}  // namespace amp4ec::detail
