// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/segments.hpp>
#include <amp4ec/plan/problem.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace amp4ec::detail {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr Bytes unbounded{std::numeric_limits<std::uint64_t>::max()};

/// Nodes that a search need not tell apart: same speed, same memory, same links; a pinned node is alone.
struct NodeKind {
  std::vector<std::size_t> nodes;  // of the problem, in their order
  double speed = 1;      // in what the objective counts: of one request alone for latency, else while all is full
  Bytes memory;          // limit; `unbounded` where there is none
  double period_us = 0;  // of the quota; 0 where that makes no difference
};

/// A stage in the search: the segment between two boundaries on a node of some kind.
struct Piece {
  std::size_t kind = 0;
  std::size_t from = 0;
  std::size_t to = 0;
};
using Pieces = std::vector<Piece>;

/// Sorts the nodes of a problem into kinds. Being alike is an equivalence: a and b have the same links to and from
/// every other node, and the same one to each other in both directions.
class KindFinder {
 public:
  /// apart: every node becomes a kind of its own.
  KindFinder(const Problem& problem, bool apart) : links_(problem.nodes.size()) {
    std::unordered_map<std::string_view, std::size_t> index;
    for (std::size_t n = 0; n < problem.nodes.size(); ++n) index.emplace(problem.nodes[n].name, n);
    for (const LinkSpec& link : problem.links) {
      const std::size_t from = index.at(link.from);
      const std::size_t to = index.at(link.to);
      links_[from].push_back({to, true, link.bandwidth.count, link.latency_us});
      links_[to].push_back({from, false, link.bandwidth.count, link.latency_us});
    }
    for (auto& links : links_) std::ranges::sort(links);

    const bool alone = problem.objective == Objective::latency;
    const double slowdown = alone ? 1 : slowdown_when_full(problem.profile, problem.nodes);
    std::vector<bool> pinned(problem.nodes.size(), false);
    for (const Pin& pin : problem.pins) pinned[index.at(pin.node)] = true;
    std::map<std::tuple<double, std::uint64_t, double>, std::vector<std::size_t>>
        known;  // kinds of this speed and memory
    for (std::size_t n = 0; n < problem.nodes.size(); ++n) {
      const NodeSpec& node = problem.nodes[n];
      const double speed = node_speed(node) / slowdown;
      const double period_us = alone && speed < 1 && node.period_us >= 1 ? node.period_us : 0;
      const Bytes memory = node.memory.count == 0 ? unbounded : node.memory;
      auto& similar = known[{speed, memory.count, period_us}];
      const auto same = std::ranges::find_if(similar, [&](std::size_t k) {
        const std::size_t other = kinds_[k].nodes.front();
        return !apart && !pinned[n] && !pinned[other] && alike(n, other);
      });
      if (same != similar.end()) {
        kinds_[*same].nodes.push_back(n);
        continue;
      }
      similar.push_back(kinds_.size());
      kinds_.push_back({{n}, speed, memory, period_us});
    }
  }

  [[nodiscard]] std::vector<NodeKind> take() && { return std::move(kinds_); }

 private:
  using End = std::tuple<std::size_t, bool, std::uint64_t, double>;  // other node, away from here?, bandwidth, latency

  [[nodiscard]] bool alike(std::size_t a, std::size_t b) const {
    if (links_[a].size() != links_[b].size()) return false;
    const auto to_each_other = [&](std::size_t from, std::size_t to) {
      std::vector<std::pair<std::uint64_t, double>> found;
      for (const End& end : links_[from]) {
        if (std::get<0>(end) == to && std::get<1>(end)) found.emplace_back(std::get<2>(end), std::get<3>(end));
      }
      return found;
    };
    if (to_each_other(a, b) != to_each_other(b, a)) return false;
    std::size_t i = 0;
    std::size_t j = 0;
    while (true) {
      while (i < links_[a].size() && std::get<0>(links_[a][i]) == b) ++i;
      while (j < links_[b].size() && std::get<0>(links_[b][j]) == a) ++j;
      if (i == links_[a].size() || j == links_[b].size()) return i == links_[a].size() && j == links_[b].size();
      if (links_[a][i++] != links_[b][j++]) return false;
    }
  }

  std::vector<std::vector<End>> links_;
  std::vector<NodeKind> kinds_;
};

/// What every search works on: the boundaries, the kinds of nodes, what a stage and a link cost, and how far a stage
/// may reach on each kind. Borrows the problem.
class SearchSpace {
 public:
  explicit SearchSpace(const Problem& problem)
      : segments_(problem.profile, problem.forbidden_cuts),
        kinds_(KindFinder(problem, problem.shared_nodes).take()),
        linked_(!problem.links.empty()) {
    links_.assign(kinds_.size() * kinds_.size(), nullptr);
    std::unordered_map<std::string_view, std::size_t> kind_of;
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      for (const std::size_t node : kinds_[k].nodes) kind_of.emplace(problem.nodes[node].name, k);
    }
    for (const LinkSpec& link : problem.links)
      links_[kind_of.at(link.from) * kinds_.size() + kind_of.at(link.to)] = &link;
    find_owners(problem);
    bound_memory(unbounded);
    leave_out_bursts();
  }

  /// Whether latency is counted here as if quotas were held at every moment, though they are not.
  [[nodiscard]] bool leaves_out_bursts() const noexcept { return leaves_out_bursts_; }

  [[nodiscard]] const Segments& segments() const noexcept { return segments_; }
  [[nodiscard]] std::size_t end() const noexcept { return segments_.end(); }
  [[nodiscard]] std::size_t kinds() const noexcept { return kinds_.size(); }
  [[nodiscard]] const NodeKind& kind(std::size_t k) const { return kinds_[k]; }
  [[nodiscard]] bool linked() const noexcept { return linked_; }

  [[nodiscard]] double stage_us(std::size_t kind, std::size_t from, std::size_t to) const {
    return segments_.time_us(from, to) / kinds_[kind].speed;
  }
  /// What a stage adds to the latency: for that objective of one request alone.
  [[nodiscard]] double latency_us(std::size_t kind, std::size_t from, std::size_t to) const {
    return latency_us(kind, segments_.time_us(from, to));
  }
  [[nodiscard]] double latency_us(std::size_t kind, double time_us) const {
    const NodeKind& node = kinds_[kind];
    return node.period_us > 0 ? alone_us(time_us, node.speed, node.period_us) : time_us / node.speed;
  }
  [[nodiscard]] double link_us(std::size_t from, std::size_t to, std::size_t boundary) const {
    return link_time_us(links_[from * kinds_.size() + to], segments_.crossing(boundary));
  }
  [[nodiscard]] const LinkSpec* link(std::size_t from, std::size_t to) const {
    return links_[from * kinds_.size() + to];
  }

  /// The farthest boundary that a stage from this boundary may have on this kind, by memory and pins; `from` if none.
  /// Every nearer one is allowed as well.
  [[nodiscard]] std::size_t reach(std::size_t kind, std::size_t from) const {
    return reach_[kind * (end() + 1) + from];
  }
  /// How much of `Segments::weights` a stage on this kind may hold.
  [[nodiscard]] double capacity(std::size_t kind) const { return capacity_[kind]; }

  /// Lets no stage be larger than this, beside the nodes' own limits.
  void bound_memory(Bytes most) {
    reach_.assign(kinds_.size() * (end() + 1), 0);
    capacity_.assign(kinds_.size(), 0);
    for (std::size_t k = 0; k < kinds_.size(); ++k) {
      const Bytes limit = std::min(most, kinds_[k].memory);
      const Bytes fixed = segments_.memory(0, 0);
      capacity_[k] = limit < fixed        ? -1
                     : limit == unbounded ? infinity
                                          : static_cast<double>(limit.count - fixed.count);
      std::size_t to = 0;
      for (std::size_t from = 0; from <= end(); ++from) {
        to = std::max(to, from);
        while (to < end() && mine(k, to) && segments_.memory(from, to + 1) <= limit) ++to;
        reach_[k * (end() + 1) + from] = to;
      }
    }
  }

  /// Whose node the layers from this boundary to the next are pinned to: a node, `nobody`, or `contested` by several.
  [[nodiscard]] std::size_t owner(std::size_t boundary) const { return owners_[boundary]; }
  static constexpr std::size_t nobody = ~std::size_t{0};
  static constexpr std::size_t contested = nobody - 1;

 private:
  /// With bursts many pipelines take nearly the same time, and bounds are weak: on large problems searches would take
  /// minutes.
  void leave_out_bursts() {
    constexpr double most_steps = 1e7;
    double steps = static_cast<double>(kinds_.size() * end() * end());
    for (const NodeKind& kind : kinds_) steps *= static_cast<double>(kind.nodes.size() + 1);
    if (steps <= most_steps) return;
    for (NodeKind& kind : kinds_) leaves_out_bursts_ = std::exchange(kind.period_us, 0) > 0 || leaves_out_bursts_;
  }

  void find_owners(const Problem& problem) {
    std::vector<std::size_t> of_layer(problem.profile.graph.layers.size(), nobody);
    for (const Pin& pin : problem.pins) {
      const auto node = std::ranges::find(problem.nodes, pin.node, &NodeSpec::name) - problem.nodes.begin();
      for (std::size_t layer = pin.first_layer; layer <= pin.last_layer; ++layer) {
        of_layer[layer] = static_cast<std::size_t>(node);
      }
    }
    owners_.assign(end(), nobody);
    for (std::size_t b = 0; b < end(); ++b) {
      for (std::size_t layer = segments_.first_layer(b); layer <= segments_.last_layer(b + 1); ++layer) {
        if (of_layer[layer] == nobody || of_layer[layer] == owners_[b]) continue;
        owners_[b] = owners_[b] == nobody ? of_layer[layer] : contested;
      }
    }
  }

  [[nodiscard]] bool mine(std::size_t kind, std::size_t boundary) const {
    return owners_[boundary] == nobody || owners_[boundary] == kinds_[kind].nodes.front();
  }

  Segments segments_;
  bool leaves_out_bursts_ = false;
  std::vector<NodeKind> kinds_;
  bool linked_;
  std::vector<const LinkSpec*> links_;  // [from * kinds + to]
  std::vector<std::size_t> owners_;     // [boundary]
  std::vector<std::size_t> reach_;      // [kind * (end + 1) + from]
  std::vector<double> capacity_;        // [kind]
};

}  // namespace amp4ec::detail
