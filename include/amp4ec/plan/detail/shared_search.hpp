// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/answer.hpp>
#include <amp4ec/plan/detail/bottleneck_search.hpp>
#include <amp4ec/plan/detail/packing.hpp>
#include <amp4ec/plan/detail/rate_bound.hpp>
#include <amp4ec/plan/detail/relaxation.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Plans in which a node may hold several stages of its pipeline (not two in a row: those are one).
///
/// Label setting: what a beginning of a pipeline has used, time and memory of each node and time of each link, is a
/// vector, and of two beginnings that end at the same boundary on the same node one that is nowhere better is dropped.
/// Throughput, latency and memory are each monotone in the vector, so the labels at the end hold a best pipeline on
/// every set of nodes. Labels that an end already found beats, whatever may follow, are dropped as well, and of equal
/// nodes the first is used first. Exact while no label was dropped for lack of room.
class SharedSearch {
 public:
  /// space: with every node a kind of its own. alike: the kinds of its nodes.
  SharedSearch(const SearchSpace& space, const std::vector<NodeKind>& alike, PipelineBounds bounds,
               std::size_t max_stages)
      : space_(space), nodes_(space.kinds()), alike_(alike), bounds_(bounds), vectors_(counts(alike)) {
    kind_of_.resize(nodes_);
    for (std::size_t k = 0; k < alike.size(); ++k) {
      for (const std::size_t node : alike[k].nodes) kind_of_[node] = k;
    }
    max_stages_ = max_stages == 0 ? space.end() : max_stages;
    for (std::size_t a = 0; a < nodes_; ++a) {
      for (std::size_t b = 0; b < nodes_; ++b) {
        link_place_.push_back(space.link(a, b) == nullptr ? 0 : 2 * nodes_ + links_++);
      }
    }
  }

  [[nodiscard]] Answer solve(Objective objective) {
    if (nodes_ > most_nodes) return {};
    objective_ = objective;
    expand();
    switch (objective) {
      case Objective::throughput: return most_throughput(infinity);
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

  /// What no plan with shared nodes exceeds, by relaxation.
  [[nodiscard]] static double bound(const SearchSpace& space, Objective objective) {
    const Counts all(space.kinds(), 1);
    if (objective == Objective::throughput) return RateBound(space, all, RateBound::Links::ignored).find(30, 0);
    if (objective == Objective::latency) {
      PricedPath path(space, all, infinity, 1);
      path.solve(std::vector<double>(space.kinds(), 0));
      return path.cost();
    }
    return static_cast<double>(stage_memory_bound(space, all, 0).count);
  }

 private:
  static constexpr std::size_t most_nodes = 12;
  static constexpr std::size_t most_labels = 200'000;
  static constexpr std::size_t most_labels_a_place = 4'000;
  static constexpr std::size_t most_comparisons = 50'000'000;  // about a second

  struct Label {
    std::vector<double> used;  // [node] time, [node] memory, [link] time; latency where that is the objective
    std::uint32_t nodes = 0;   // bit b is node b
    std::uint32_t last = 0;
    std::uint32_t boundary = 0;
    std::uint32_t stages = 0;
    std::int32_t parent = -1;
  };

  [[nodiscard]] double bottleneck(const Label& label) const {
    double longest = 0;
    for (std::size_t i = 0; i < 2 * nodes_ + links_; ++i) {
      if (i < nodes_ || i >= 2 * nodes_) longest = std::max(longest, label.used[i]);
    }
    return longest;
  }
  [[nodiscard]] double latency(const Label& label) const {
    if (objective_ == Objective::latency) return label.used.back();
    double sum = 0;
    for (std::size_t i = 0; i < label.used.size(); ++i) sum += i < nodes_ || i >= 2 * nodes_ ? label.used[i] : 0;
    return sum;
  }
  [[nodiscard]] double memory(const Label& label) const {
    double most = 0;
    for (std::size_t n = 0; n < nodes_; ++n) most = std::max(most, label.used[nodes_ + n]);
    return most;
  }

  [[nodiscard]] bool dominates(const Label& a, const Label& b) const {
    if (bounds_.most != 1 && (a.nodes & ~b.nodes) != 0) return false;
    if (a.stages > b.stages && max_stages_ < space_.end()) return false;
    for (std::size_t i = 0; i < a.used.size(); ++i) {
      if (a.used[i] > b.used[i]) return false;
    }
    return true;
  }

  void expand() {
    places_.assign((space_.end() + 1) * nodes_, {});
    Label start;
    start.used.assign(2 * nodes_ + links_ + (objective_ == Objective::latency ? 1 : 0), 0);
    labels_.push_back(start);
    extend(0);  // with it the whole model on each node is known
    for (std::size_t b = 1; b < space_.end(); ++b) {
      for (std::size_t n = 0; n < nodes_; ++n) {
        for (const std::int32_t label : std::vector<std::int32_t>(places_[b * nodes_ + n])) extend(label);
      }
    }
    for (std::size_t n = 0; n < nodes_; ++n) {
      const auto& place = places_[space_.end() * nodes_ + n];
      ends_.insert(ends_.end(), place.begin(), place.end());
    }
  }

  /// What the objective and its ties ask of a label; none of them falls along a pipeline.
  struct Worth {
    double bottleneck_us = 0;
    double first = 0;  // latency or memory, by the objective
  };
  [[nodiscard]] Worth worth(const Label& label) const {
    const double first = objective_ == Objective::latency  ? latency(label)
                         : objective_ == Objective::memory ? memory(label)
                                                           : 0;
    return {bottleneck(label), first};
  }

  /// Whether a whole pipeline that is known makes this beginning useless.
  [[nodiscard]] bool beaten(const Label& label) const {
    const Worth mine = worth(label);
    return std::ranges::any_of(known_, [&](const auto& known) {
      const bool within = bounds_.most == 1 || contains(label.nodes, known.first);
      return within && known.second.bottleneck_us <= mine.bottleneck_us && known.second.first <= mine.first;
    });
  }

  /// Whether a set of nodes holds another, up to equal nodes.
  [[nodiscard]] bool contains(std::uint32_t nodes, std::uint32_t others) const {
    const Counts has = used(nodes);
    const Counts needs = used(others);
    for (std::size_t k = 0; k < has.size(); ++k) {
      if (needs[k] > has[k]) return false;
    }
    return true;
  }
  [[nodiscard]] Counts used(std::uint32_t nodes) const {
    Counts result(alike_.size(), 0);
    for (std::size_t n = 0; n < nodes_; ++n) {
      if ((nodes >> n & 1U) != 0) ++result[kind_of_[n]];
    }
    return result;
  }
  static Counts counts(const std::vector<NodeKind>& alike) {
    Counts result;
    for (const NodeKind& kind : alike) result.push_back(static_cast<std::uint32_t>(kind.nodes.size()));
    return result;
  }

  /// Of equal nodes the first is used first.
  [[nodiscard]] bool in_turn(std::uint32_t nodes, std::size_t node) const {
    for (const std::size_t other : alike_[kind_of_[node]].nodes) {
      if (other == node) return true;
      if ((nodes >> other & 1U) == 0) return false;
    }
    return true;
  }

  void extend(std::int32_t parent) {
    const Label from = labels_[parent];
    if (from.stages == max_stages_) return;
    if (comparisons_ > most_comparisons) {
      complete_ = false;
      return;
    }
    for (std::size_t n = 0; n < nodes_; ++n) {
      if ((from.parent >= 0 && from.last == n) || !in_turn(from.nodes, n)) continue;
      const double room = static_cast<double>(std::min(space_.kind(n).memory.count, std::uint64_t{1} << 62U));
      for (std::size_t to = from.boundary + 1; to <= space_.reach(n, from.boundary); ++to) {
        Label next = from;
        next.used[n] += space_.stage_us(n, from.boundary, to);
        if (objective_ == Objective::memory || space_.kind(n).memory != unbounded) {
          next.used[nodes_ + n] += static_cast<double>(space_.segments().memory(from.boundary, to).count);
          if (next.used[nodes_ + n] > room) break;
        }
        double link_us = 0;
        if (from.parent >= 0) {
          const std::size_t link = link_place_[from.last * nodes_ + n];
          link_us = space_.link_us(from.last, n, from.boundary);
          if (link > 0) next.used[link] += link_us;
        }
        if (objective_ == Objective::latency) next.used.back() += link_us + space_.latency_us(n, from.boundary, to);
        next.nodes |= 1U << n;
        next.last = static_cast<std::uint32_t>(n);
        next.boundary = static_cast<std::uint32_t>(to);
        ++next.stages;
        next.parent = parent;
        insert(std::move(next));
      }
    }
  }

  void insert(Label label) {
    if (beaten(label)) return;
    if (label.boundary == space_.end()) known_.emplace_back(label.nodes, worth(label));
    auto& place = places_[label.boundary * nodes_ + label.last];
    comparisons_ += 1 + place.size();
    for (const std::int32_t other : place) {
      if (dominates(labels_[other], label)) return;
    }
    std::erase_if(place, [&](std::int32_t other) { return dominates(label, labels_[other]); });
    if (place.size() == most_labels_a_place || labels_.size() == most_labels) {
      complete_ = false;
      return;
    }
    place.push_back(static_cast<std::int32_t>(labels_.size()));
    labels_.push_back(std::move(label));
  }

  [[nodiscard]] Pieces trace(std::int32_t end) const {
    Pieces pieces;
    for (std::int32_t l = end; labels_[l].parent >= 0; l = labels_[l].parent) {
      pieces.push_back({labels_[l].last, labels_[labels_[l].parent].boundary, labels_[l].boundary});
    }
    std::ranges::reverse(pieces);
    return pieces;
  }

  /// The stages of ends, each pipeline on equal nodes of its own.
  [[nodiscard]] std::vector<Pieces> trace_all(const std::vector<std::int32_t>& ends) const {
    Counts taken(alike_.size(), 0);
    std::vector<Pieces> result;
    for (const std::int32_t end : ends) {
      Pieces pieces = trace(end);
      // A pipeline uses the first nodes of a kind: they move on by as many as are taken.
      for (Piece& piece : pieces) {
        const auto& nodes = alike_[kind_of_[piece.kind]].nodes;
        const auto place = std::ranges::find(nodes, piece.kind) - nodes.begin();
        piece.kind = nodes[static_cast<std::size_t>(place) + taken[kind_of_[piece.kind]]];
      }
      const Counts mine = used(labels_[end].nodes);
      for (std::size_t k = 0; k < taken.size(); ++k) taken[k] += mine[k];
      result.push_back(std::move(pieces));
    }
    return result;
  }

  /// For each vector of nodes the end that is best by a cost, or -1; `kept` says which ends count.
  template <class Cost, class Kept>
  [[nodiscard]] std::vector<std::int32_t> best_ends(Cost cost, Kept kept) const {
    std::vector<std::int32_t> best(vectors_.size(), -1);
    for (const std::int32_t end : ends_) {
      std::int32_t& known = best[vectors_.number(used(labels_[end].nodes))];
      if (kept(labels_[end]) && (known < 0 || cost(labels_[end]) < cost(labels_[known]))) known = end;
    }
    return best;
  }

  /// Cost, then latency: comparable as a pair.
  [[nodiscard]] auto by_bottleneck() const {
    return [this](const Label& label) { return std::pair(bottleneck(label), latency(label)); };
  }

  [[nodiscard]] std::vector<double> rates(const std::vector<std::int32_t>& ends) const {
    std::vector<double> result(ends.size(), -infinity);
    for (std::size_t v = 1; v < ends.size(); ++v) {
      if (ends[v] >= 0) result[v] = rate_rps(bottleneck(labels_[ends[v]]));
    }
    return result;
  }

  [[nodiscard]] Answer most_throughput(double most_memory) const {
    const auto ends = best_ends(by_bottleneck(), [&](const Label& label) { return memory(label) <= most_memory; });
    const Packing packing(vectors_, rates(ends), bounds_, 0, std::plus<>());
    if (packing.best(vectors_.full()) <= 0) return {{}, complete_};
    std::vector<std::int32_t> chosen;
    for (const std::size_t v : packing.sets(vectors_.full())) chosen.push_back(ends[v]);
    return {trace_all(chosen), complete_};
  }

  [[nodiscard]] Answer least_memory() const {
    const auto ends =
        best_ends([this](const Label& label) { return memory(label); }, [](const Label&) { return true; });
    std::vector<double> worth(ends.size(), -infinity);
    for (std::size_t v = 1; v < ends.size(); ++v) {
      if (ends[v] >= 0) worth[v] = -memory(labels_[ends[v]]);
    }
    const Packing packing(vectors_, worth, {std::max<std::size_t>(bounds_.exactly, 1), 0}, infinity,
                          [](double a, double b) { return std::min(a, b); });
    const double least = -packing.best(vectors_.full());
    return least == infinity ? Answer{{}, complete_} : most_throughput(least);
  }

  [[nodiscard]] Answer least_latency() const {
    const auto every = [](const Label&) { return true; };
    const auto quickest =
        best_ends([this](const Label& label) { return std::pair(latency(label), bottleneck(label)); }, every);
    const auto ends = best_ends(by_bottleneck(), every);
    const bool alone = bounds_.exactly == 1 || bounds_.most == 1;
    const PipelineBounds rest{bounds_.exactly > 0 ? bounds_.exactly - 1 : 0, bounds_.most > 0 ? bounds_.most - 1 : 0};
    const Packing others(vectors_, rates(ends), alone ? PipelineBounds{} : rest, 0, std::plus<>());
    std::int32_t first = -1;
    double least_us = infinity;
    double throughput = 0;
    for (std::size_t v = 1; v < quickest.size(); ++v) {
      if (quickest[v] < 0) continue;
      const Label& label = labels_[quickest[v]];
      const double more = alone ? 0 : others.best(vectors_.full() - v);
      const double together = rate_rps(bottleneck(label)) + more;
      const double time_us = latency(label);
      if (more == -infinity || time_us > least_us || (time_us == least_us && together <= throughput)) continue;
      first = quickest[v];
      least_us = time_us;
      throughput = together;
    }
    if (first < 0) return {{}, complete_};
    std::vector<std::int32_t> chosen{first};
    if (!alone) {
      const std::size_t left = vectors_.full() - vectors_.number(used(labels_[first].nodes));
      for (const std::size_t v : others.sets(left)) chosen.push_back(ends[v]);
    }
    return {trace_all(chosen), complete_};
  }

  const SearchSpace& space_;
  std::size_t nodes_;
  const std::vector<NodeKind>& alike_;
  std::vector<std::size_t> kind_of_;  // [node]: in alike_
  std::size_t links_ = 0;
  PipelineBounds bounds_;
  CountVectors vectors_;
  std::size_t max_stages_;
  std::vector<std::size_t> link_place_;  // [from][to]: in Label::used; 0: there is no link
  std::vector<Label> labels_;
  std::vector<std::vector<std::int32_t>> places_;  // [boundary][last node]
  std::vector<std::int32_t> ends_;
  std::vector<std::pair<std::uint32_t, Worth>> known_;  // of whole pipelines: nodes and worth
  std::size_t comparisons_ = 0;
  Objective objective_ = Objective::throughput;
  bool complete_ = true;
};

}  // namespace amp4ec::detail
