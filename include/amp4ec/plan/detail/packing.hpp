// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/pipeline_search.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Chooses disjoint sets of nodes, one pipeline each, so that their worths combine to the most. Nodes may be left out.
///
/// Dynamic programming over sets of nodes: the lowest node of a set is left out, or shares a pipeline with some of the
/// others. O(3^n) for any number of pipelines, k times that for exactly k.
class Packing {
 public:
  /// worth[mask]: of the best pipeline on exactly these nodes; -infinity where there is none.
  /// count: exactly so many pipelines; 0: any number.
  /// combine(worth, worth): must not fall when either grows; `empty` is its neutral element, the worth of no pipeline.
  template <class Combine>
  Packing(const std::vector<double>& worth, std::size_t count, double empty, Combine combine)
      : any_(count == 0), levels_(std::max<std::size_t>(count + 1, 2)) {
    const std::size_t sets = worth.size();
    levels_[0].best.assign(sets, empty);
    for (std::size_t level = 1; level < levels_.size(); ++level) {
      std::vector<double>& best = levels_[level].best;
      std::vector<NodeMask>& chosen = levels_[level].chosen;
      best.assign(sets, any_ ? empty : -infinity);  // NOLINT(bugprone-narrowing-conversions): double to double
      chosen.assign(sets, 0);
      const std::vector<double>& others = levels_[any_ ? level : level - 1].best;
      for (NodeMask mask = 1; mask < sets; ++mask) {
        const NodeMask lowest = mask & (~mask + 1);
        const NodeMask rest = mask & ~lowest;
        best[mask] = best[rest];
        // From few companions to many: among equals, the pipeline with fewer stages.
        for (NodeMask company = 0;; company = (company - rest) & rest) {
          const double total = combine(worth[lowest | company], others[rest & ~company]);
          if (total > best[mask]) {
            best[mask] = total;
            chosen[mask] = lowest | company;
          }
          if (company == rest) break;
        }
      }
    }
  }

  /// The most that these nodes are worth; -infinity if the count cannot be reached.
  [[nodiscard]] double best(NodeMask nodes) const { return levels_.back().best[nodes]; }

  /// The sets of nodes that reach it. Only where `best` is not -infinity.
  [[nodiscard]] std::vector<NodeMask> sets(NodeMask nodes) const {
    std::vector<NodeMask> result;
    std::size_t level = levels_.size() - 1;
    while (nodes != 0 && level > 0) {
      const NodeMask chosen = levels_[level].chosen[nodes];
      if (chosen == 0) {
        nodes &= nodes - 1;
        continue;
      }
      result.push_back(chosen);
      nodes &= ~chosen;
      if (!any_) --level;
    }
    return result;
  }

 private:
  struct Level {
    std::vector<double> best;
    std::vector<NodeMask> chosen;  // the set that holds the lowest node; 0: that node is left out
  };
  bool any_;
  std::vector<Level> levels_;
};

}  // namespace amp4ec::detail
