// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/segments.hpp>
#include <amp4ec/plan/problem.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace amp4ec::detail {

/// A set of nodes: bit b is node b of the problem.
using NodeMask = std::uint32_t;

constexpr NodeMask bit(std::size_t node) noexcept {
  return NodeMask{1} << node;
}

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// A stage in the search: the segment between two boundaries on a node.
struct Piece {
  std::size_t node = 0;
  std::size_t from = 0;
  std::size_t to = 0;
};

/// Bounds that every stage and link of a pipeline must keep, beside its node's own limits.
struct Caps {
  double time_us = infinity;
  Bytes memory{std::numeric_limits<std::uint64_t>::max()};
};

// What a search minimises. Each grows along a pipeline and never falls, so the best pipeline consists of best prefixes.

/// The longest stage or link time.
struct BottleneckCost {
  using Value = double;
  static constexpr Value none = infinity;
  static Value add_stage(Value before, double time_us, Bytes /*memory*/) { return std::max(before, time_us); }
  static Value add_link(Value before, double time_us) { return std::max(before, time_us); }
};

/// The sum of all times, then the longest of them. Best pairs have best prefixes as well: a prefix with a longer sum
/// cannot be part of a shortest one, and among equal sums the smaller maximum is never worse.
struct LatencyCost {
  struct Value {
    double sum_us = 0;
    double longest_us = 0;
    friend bool operator<(const Value& a, const Value& b) {
      return a.sum_us < b.sum_us || (a.sum_us == b.sum_us && a.longest_us < b.longest_us);
    }
  };
  static constexpr Value none{infinity, infinity};
  static Value add_stage(Value before, double time_us, Bytes /*memory*/) { return add_link(before, time_us); }
  static Value add_link(Value before, double time_us) {
    return {before.sum_us + time_us, std::max(before.longest_us, time_us)};
  }
};

/// The largest stage memory, in bytes; exact below 2^53.
struct MemoryCost {
  using Value = double;
  static constexpr Value none = infinity;
  static Value add_stage(Value before, double /*time_us*/, Bytes memory) {
    return std::max(before, static_cast<double>(memory.count));
  }
  static Value add_link(Value before, double /*time_us*/) { return before; }
};

/// The best single pipeline on every set of nodes, each node with exactly one stage of it.
///
/// Dynamic programming over (nodes used, node of the last stage, boundary reached). The last node is part of the state
/// because the link out of it counts. Since a node has at most one stage, its limits concern that stage alone, so no
/// memory left over has to be remembered and the search is exact. O(2^n n b^2) time, O(2^n n b) memory for n nodes and
/// b boundaries.
template <class Cost>
class PipelineSearch {
 public:
  using Value = typename Cost::Value;

  PipelineSearch(const Problem& problem, const Segments& segments, NodeMask allowed, Caps caps = {})
      : problem_(problem), segments_(segments), caps_(caps), nodes_(problem.nodes.size()) {
    for (std::size_t a = 0; a < nodes_; ++a) {
      for (std::size_t b = 0; b < nodes_; ++b) {
        links_.push_back(find_link(problem.links, problem.nodes[a].name, problem.nodes[b].name));
      }
    }
    cells_.resize((std::size_t{allowed} + 1) * nodes_);
    for (NodeMask mask = 1; mask <= allowed; ++mask) {
      const bool short_enough = problem.max_stages == 0 || std::size_t(std::popcount(mask)) <= problem.max_stages;
      if ((mask & ~allowed) != 0 || !short_enough) continue;
      for (std::size_t last = 0; last < nodes_; ++last) {
        if ((mask & bit(last)) != 0) fill(mask, last);
      }
    }
  }

  /// The cost of the best pipeline with a stage on each of these nodes and no other; `Cost::none` if there is none.
  [[nodiscard]] Value best(NodeMask mask) const {
    Value value = Cost::none;
    for (std::size_t last = 0; last < nodes_; ++last) {
      const std::vector<Value>& cell = cells_[mask * nodes_ + last];
      if (!cell.empty()) value = std::min(value, cell[segments_.end()]);
    }
    return value;
  }

  /// The stages of that pipeline. Only for a set of nodes that has one.
  [[nodiscard]] std::vector<Piece> trace(NodeMask mask) const {
    std::size_t last = nodes_;
    for (std::size_t b = 0; b < nodes_; ++b) {
      if (cell(mask, b).empty()) continue;
      if (last == nodes_ || cell(mask, b)[segments_.end()] < cell(mask, last)[segments_.end()]) last = b;
    }
    std::vector<Piece> pieces;
    std::size_t to = segments_.end();
    while (true) {
      const NodeMask before = mask & ~bit(last);
      const std::size_t from = best_start(mask, last, to);
      pieces.push_back({last, from, to});
      if (before == 0) break;
      last = best_sender(before, last, from);
      mask = before;
      to = from;
    }
    std::ranges::reverse(pieces);
    return pieces;
  }

 private:
  [[nodiscard]] const std::vector<Value>& cell(NodeMask mask, std::size_t last) const {
    return cells_[mask * nodes_ + last];
  }

  /// Cost of the best prefix that ends at a boundary on one of the nodes in `before`, sent on to `next`.
  [[nodiscard]] Value arrive(NodeMask before, std::size_t sender, std::size_t next, std::size_t boundary) const {
    const std::vector<Value>& prefix = cell(before, sender);
    if (prefix.empty()) return Cost::none;
    const double time_us = link_time_us(links_[sender * nodes_ + next], segments_.crossing(boundary));
    return time_us > caps_.time_us ? Cost::none : Cost::add_link(prefix[boundary], time_us);
  }

  [[nodiscard]] Value arrive_best(NodeMask before, std::size_t next, std::size_t boundary) const {
    if (before == 0) return boundary == 0 ? Value{} : Cost::none;
    Value value = Cost::none;
    for (std::size_t sender = 0; sender < nodes_; ++sender) {
      value = std::min(value, arrive(before, sender, next, boundary));
    }
    return value;
  }

  [[nodiscard]] bool holds(std::size_t node, std::size_t from, std::size_t to) const {
    const Bytes memory = segments_.memory(from, to);
    return fits(problem_.nodes[node], memory) && memory <= caps_.memory;
  }

  [[nodiscard]] Value extend(Value before, std::size_t node, std::size_t from, std::size_t to) const {
    const double time_us = segments_.time_us(from, to) / node_speed(problem_.nodes[node]);
    return time_us > caps_.time_us ? Cost::none : Cost::add_stage(before, time_us, segments_.memory(from, to));
  }

  void fill(NodeMask mask, std::size_t last) {
    const NodeMask before = mask & ~bit(last);
    std::vector<Value> reached(segments_.end() + 1, Cost::none);
    bool any = false;
    for (std::size_t from = 0; from < segments_.end(); ++from) {
      const Value start = arrive_best(before, last, from);
      if (!(start < Cost::none)) continue;
      // Memory only grows with the segment, so the first that does not fit ends the row.
      for (std::size_t to = from + 1; to <= segments_.end() && holds(last, from, to); ++to) {
        reached[to] = std::min(reached[to], extend(start, last, from, to));
        any = true;
      }
    }
    if (any) cells_[mask * nodes_ + last] = std::move(reached);
  }

  [[nodiscard]] std::size_t best_start(NodeMask mask, std::size_t last, std::size_t to) const {
    std::size_t chosen = to;
    Value best = Cost::none;
    for (std::size_t from = 0; from < to; ++from) {
      if (!holds(last, from, to)) continue;
      const Value value = extend(arrive_best(mask & ~bit(last), last, from), last, from, to);
      if (!(value < best)) continue;
      best = value;
      chosen = from;
    }
    return chosen;
  }

  [[nodiscard]] std::size_t best_sender(NodeMask before, std::size_t next, std::size_t boundary) const {
    std::size_t chosen = 0;
    Value best = Cost::none;
    for (std::size_t sender = 0; sender < nodes_; ++sender) {
      const Value value = arrive(before, sender, next, boundary);
      if (!(value < best)) continue;
      best = value;
      chosen = sender;
    }
    return chosen;
  }

  const Problem& problem_;
  const Segments& segments_;
  Caps caps_;
  std::size_t nodes_;
  std::vector<const LinkSpec*> links_;     // [from * nodes + to]
  std::vector<std::vector<Value>> cells_;  // [mask * nodes + last][boundary]; empty where nothing fits
};

}  // namespace amp4ec::detail
