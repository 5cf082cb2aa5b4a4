// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/count_vectors.hpp>
#include <amp4ec/plan/detail/search_space.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace amp4ec::detail {

/// What a set search minimises. Each never falls along a pipeline, so the best pipeline consists of best prefixes.
enum class SetCost {
  bottleneck,  ///< The longest stage or link, in microseconds.
  memory,      ///< The largest stage, in bytes; exact below 2^53.
};

/// The best pipeline on exactly each vector of nodes. Dynamic programming over (nodes used, kind of the last stage,
/// boundary reached); the last kind is part of the state because the link out of it counts. A node has one stage of it,
/// so its memory concerns that stage alone and the search is exact. O(v k b^2) for v vectors, k kinds, b boundaries.
class SetSearch {
 public:
  SetSearch(const SearchSpace& space, const CountVectors& vectors, SetCost cost, std::size_t max_stages)
      : space_(space), vectors_(vectors), cost_(cost), width_(space.end() + 1) {
    const std::size_t kinds = vectors.kinds();
    cells_.assign(vectors.size() * kinds * width_, infinity);
    best_.assign(vectors.size(), infinity);
    find_stage_costs();
    Counts counts(kinds, 0);
    for (std::size_t v = 1; v < vectors.size(); ++v) {
      vectors.advance(counts);
      if (max_stages > 0 && total(counts) > max_stages) continue;
      for (std::size_t k = 0; k < kinds; ++k) {
        if (counts[k] > 0) fill(v, k);
      }
    }
    cells_ = {};
    stage_costs_ = {};
  }

  /// The cost of the best pipeline with a stage on each of these nodes and no other; `infinity` if there is none.
  [[nodiscard]] double best(std::size_t v) const { return best_[v]; }

  /// Elementary steps that the search will take, to decide whether to start it.
  static double steps(const SearchSpace& space, const CountVectors& vectors) {
    const auto b = static_cast<double>(space.end());
    double used_kinds = 0;  // on average over the vectors
    for (const std::uint32_t most : vectors.most()) used_kinds += most / (most + 1.0);
    return static_cast<double>(vectors.size()) * used_kinds * b * (b / 2 + used_kinds);
  }

 private:
  void find_stage_costs() {
    stage_costs_.assign(space_.kinds() * width_ * width_, infinity);
    for (std::size_t k = 0; k < space_.kinds(); ++k) {
      if (vectors_.most()[k] == 0) continue;
      for (std::size_t from = 0; from < space_.end(); ++from) {
        double* row = stage_costs_.data() + (k * width_ + from) * width_;
        for (std::size_t to = from + 1; to <= space_.reach(k, from); ++to) {
          row[to] = cost_ == SetCost::bottleneck ? space_.stage_us(k, from, to)
                                                 : static_cast<double>(space_.segments().memory(from, to).count);
        }
      }
    }
  }

  /// Cost of the best prefix on the vector's nodes that ends at a boundary, sent on to this kind.
  [[nodiscard]] double arrive(std::size_t before, std::size_t next, std::size_t boundary) const {
    if (before == 0) return boundary == 0 ? 0 : infinity;
    double least = infinity;
    for (std::size_t sender = 0; sender < vectors_.kinds(); ++sender) {
      const double prefix = cells_[(before * vectors_.kinds() + sender) * width_ + boundary];
      if (prefix >= least) continue;
      const double link = cost_ == SetCost::bottleneck ? space_.link_us(sender, next, boundary) : 0;
      least = std::min(least, std::max(prefix, link));
    }
    return least;
  }

  void fill(std::size_t v, std::size_t last) {
    const std::size_t before = v - vectors_.one(last);
    double* reached = cells_.data() + (v * vectors_.kinds() + last) * width_;
    for (std::size_t from = 0; from < space_.end(); ++from) {
      const double start = arrive(before, last, from);
      if (start == infinity) continue;
      const double* row = stage_costs_.data() + (last * width_ + from) * width_;
      const std::size_t reach = space_.reach(last, from);
      for (std::size_t to = from + 1; to <= reach; ++to) reached[to] = std::min(reached[to], std::max(start, row[to]));
    }
    best_[v] = std::min(best_[v], reached[space_.end()]);
  }

  const SearchSpace& space_;
  const CountVectors& vectors_;
  SetCost cost_;
  std::size_t width_;
  std::vector<double> stage_costs_;  // [kind][from][to]
  std::vector<double> cells_;        // [vector][last kind][boundary]
  std::vector<double> best_;         // [vector]
};

}  // namespace amp4ec::detail
