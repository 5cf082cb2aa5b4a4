// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/large_pipeline.hpp>
#include <amp4ec/plan/detail/one_pipeline.hpp>
#include <amp4ec/plan/detail/packing.hpp>
#include <amp4ec/plan/detail/price_bound.hpp>
#include <amp4ec/plan/detail/rate_bound.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Any number of pipelines where the exact search is too large. Nodes are dealt out to groups of about equal memory, a
/// beam search makes the pipeline of each group, a local search moves and swaps nodes between groups, and at last a
/// wider beam makes the pipelines of the groups that it leaves.
class LargePlan {
 public:
  LargePlan(SearchSpace space, Counts counts, PipelineBounds bounds, std::size_t max_stages)
      : space_(std::move(space)), counts_(std::move(counts)), bounds_(bounds), max_stages_(max_stages) {}

  [[nodiscard]] Answer solve(Objective objective) {
    switch (objective) {
      case Objective::throughput: return most_throughput();
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

 private:
  /// Nodes and their pipeline; without pieces: none was found.
  struct Group {
    Counts nodes;
    Pieces pieces;
    double rate = 0;
  };
  struct Grouping {
    std::vector<Group> groups;
    [[nodiscard]] double rate() const {
      double sum = 0;
      for (const Group& group : groups) sum += group.rate;
      return sum;
    }
    [[nodiscard]] std::size_t working() const {
      return static_cast<std::size_t>(std::ranges::count_if(groups, [](const Group& g) { return g.rate > 0; }));
    }
  };

  /// A bound this close to a rate proves it the best: bounds have a margin of 1e-9.
  static constexpr double rounding = 1 + 2e-9;

  /// The exact search for one pipeline where it is affordable, else the large one.
  [[nodiscard]] Answer one(Objective objective) const {
    OnePipeline exact(space_, useful(counts_), max_stages_);
    if (exact.affordable()) return exact.solve(objective);
    return LargePipeline(space_, useful(counts_), max_stages_).solve(objective);
  }

  [[nodiscard]] Counts useful(Counts counts) const {
    const Counts most = useful_counts(space_, max_stages_);
    for (std::size_t k = 0; k < counts.size(); ++k) counts[k] = std::min(counts[k], most[k]);
    return counts;
  }

  [[nodiscard]] Answer most_throughput() const {
    Grouping best = best_grouping();
    if (best.working() == 0) return {{}, one(Objective::throughput).exact};
    polish(best);
    const double rate = best.rate();
    const double most = bound(rate);
    return {pipelines_of(std::move(best)), most <= rate * rounding, most};
  }

  [[nodiscard]] std::vector<Pieces> best_pipelines() const { return pipelines_of(best_grouping()); }
  [[nodiscard]] static std::vector<Pieces> pipelines_of(Grouping grouping) {
    std::vector<Pieces> pipelines;
    for (Group& group : grouping.groups) {
      if (group.rate > 0) pipelines.push_back(std::move(group.pieces));
    }
    return pipelines;
  }

  /// The closer bound only where the quick one leaves a gap.
  [[nodiscard]] double bound(double rate) const {
    double steps = 0;
    for (std::size_t k = 0; k < counts_.size(); ++k) {
      for (std::size_t from = 0; from < space_.end() && counts_[k] > 0; ++from) {
        steps += static_cast<double>(space_.reach(k, from) - from);
      }
    }
    const auto passes = static_cast<std::size_t>(std::clamp(1e8 / steps, 2.0, 60.0));
    const double enough = rate * rounding;
    RateBound by_layers(space_, counts_);
    const double quick = by_layers.find(passes, enough);
    if (quick <= enough) return quick;
    const auto few = static_cast<std::size_t>(std::min(5e8 / PriceBound::effort(space_, counts_), 4.0));
    return std::min(quick, PriceBound(space_, counts_).find(by_layers.worth(), few, enough));
  }

  [[nodiscard]] std::size_t most_groups() const {
    const std::size_t nodes = total(counts_);
    if (bounds_.exactly > 0) return bounds_.exactly;
    return bounds_.most > 0 ? std::min(bounds_.most, nodes) : nodes;
  }

  [[nodiscard]] Grouping best_grouping() const {
    Grouping best;
    const auto consider = [&](Grouping grouping) {
      const bool enough = bounds_.exactly == 0 || grouping.working() == bounds_.exactly;
      if (enough && grouping.rate() > best.rate()) best = std::move(grouping);
    };
    // Replicas of the whole model lose nothing to cuts; the nodes that hold it may serve alone or help the others.
    for (const bool replicas : {true, false}) {
      Grouping alone;
      std::vector<std::size_t> others;
      for (std::size_t k = 0; k < counts_.size(); ++k) {
        for (std::uint32_t i = 0; i < counts_[k]; ++i) {
          const bool holds_all = space_.reach(k, 0) == space_.end();
          if (replicas && holds_all && alone.groups.size() + 1 < most_groups()) {
            alone.groups.push_back(single(k));
          } else if (space_.capacity(k) >= 0) {
            others.push_back(k);
          }
        }
      }
      if (!replicas && best.groups.size() == total(counts_)) break;
      if (others.empty()) {
        consider(alone);
        continue;
      }
      const std::size_t most = std::min(most_groups() - alone.groups.size(), others.size());
      std::size_t last = 0;
      for (double part = 1; part > 0.02; part *= 0.7) {
        const std::size_t number = bounds_.exactly > 0 ? most : std::max<std::size_t>(1, fitting(others, most, part));
        if (number == last) continue;
        last = number;
        Grouping grouping = alone;
        for (Group& group : dealt(others, number)) grouping.groups.push_back(std::move(group));
        consider(std::move(grouping));
        if (number == 1 || bounds_.exactly > 0) break;
      }
      consider(alone);
    }
    if (best.working() > 1) improve(best);
    return best;
  }

  [[nodiscard]] Group single(std::size_t kind) const {
    Group group{Counts(counts_.size(), 0), {{kind, 0, space_.end()}}, 0};
    group.nodes[kind] = 1;
    group.rate = rate_rps(bottleneck_us(space_, group.pieces));
    return group;
  }

  [[nodiscard]] double capacity(std::size_t kind) const {
    return std::clamp(space_.capacity(kind), 0.0, space_.segments().weights(space_.end()));
  }

  /// As many groups as memory allows, times a part.
  [[nodiscard]] std::size_t fitting(const std::vector<std::size_t>& nodes, std::size_t most, double part) const {
    double together = 0;
    for (const std::size_t kind : nodes) together += capacity(kind);
    const double weights = space_.segments().weights(space_.end());
    const double groups = weights > 0 ? together / weights : static_cast<double>(most);
    return static_cast<std::size_t>(std::min(groups, static_cast<double>(most)) * part);
  }

  /// Largest first, each to the group with the least memory, then speed.
  [[nodiscard]] std::vector<Group> dealt(std::vector<std::size_t> nodes, std::size_t number) const {
    std::ranges::stable_sort(nodes, std::greater<>(), [&](std::size_t k) { return capacity(k); });
    std::vector<Group> groups(number, Group{Counts(counts_.size(), 0), {}, 0});
    std::vector<std::pair<double, double>> sum(number);
    for (const std::size_t kind : nodes) {
      const auto least = std::ranges::min_element(sum) - sum.begin();
      ++groups[least].nodes[kind];
      sum[least].first += capacity(kind);
      sum[least].second += space_.kind(kind).speed;
    }
    for (Group& group : groups) make(group);
    // What cannot work alone helps another group.
    for (std::size_t g = 0; g < groups.size() && bounds_.exactly == 0; ++g) {
      if (groups[g].rate > 0 || groups.size() == 1) continue;
      Group& other = groups[g + 1 < groups.size() ? g + 1 : g - 1];
      for (std::size_t k = 0; k < counts_.size(); ++k) other.nodes[k] += groups[g].nodes[k];
      make(other);
      groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(g--));
    }
    return groups;
  }

  [[nodiscard]] static std::size_t narrow(const Group& group) { return total(group.nodes) > 16 ? 20 : 10; }
  void make(Group& group) const { make(group, narrow(group)); }
  void make(Group& group, std::size_t width) const {
    group.pieces = quickest_pipeline(space_, useful(group.nodes), max_stages_, width);
    group.rate = group.pieces.empty() ? 0 : rate_rps(bottleneck_us(space_, group.pieces));
  }

  /// Moves or swaps nodes between two groups while that gains.
  void improve(Grouping& grouping) const {
    std::mt19937 random(1);
    const std::size_t number = grouping.groups.size();
    double largest = 0;
    for (const Group& group : grouping.groups) largest = std::max(largest, static_cast<double>(total(group.nodes)));
    const double cost = largest * static_cast<double>(space_.end());
    const auto tries = static_cast<std::size_t>(std::clamp(1e6 / cost, 0.0, 200.0));
    for (std::size_t attempt = 0; attempt < tries; ++attempt) {
      const std::size_t a = random() % number;
      const std::size_t b = random() % number;
      Group one = grouping.groups[a];
      Group other = grouping.groups[b];
      if (a == b || (one.pieces.size() <= 1 && other.pieces.size() <= 1) || total(one.nodes) < 2) continue;
      move(one, other, random());
      if (random() % 2 == 0) move(other, one, random());
      if (one.nodes == grouping.groups[a].nodes) continue;
      make(one);
      make(other);
      const bool enough = bounds_.exactly == 0 || (one.rate > 0 && other.rate > 0);
      if (!enough || one.rate + other.rate <= grouping.groups[a].rate + grouping.groups[b].rate) continue;
      grouping.groups[a] = std::move(one);
      grouping.groups[b] = std::move(other);
    }
  }

  /// A wider beam, which would take too long for every grouping tried.
  void polish(Grouping& grouping) const {
    const double cost = static_cast<double>(total(counts_) * space_.end());
    const auto width = static_cast<std::size_t>(std::min(2e6 / cost, 100.0));
    for (Group& group : grouping.groups) {
      if (group.pieces.size() < 2 || width <= narrow(group)) continue;
      Group wider = group;
      make(wider, width);
      if (wider.rate > group.rate) group = std::move(wider);
    }
  }

  /// The n-th node of one group, modulo its size, goes to another.
  static void move(Group& from, Group& to, std::size_t n) {
    n %= total(from.nodes);
    for (std::size_t k = 0; k < from.nodes.size(); ++k) {
      if (n < from.nodes[k]) {
        --from.nodes[k];
        ++to.nodes[k];
        return;
      }
      n -= from.nodes[k];
    }
  }

  /// A pipeline of least latency, and what throughput the other nodes give.
  [[nodiscard]] Answer least_latency() const {
    Answer first = one(Objective::latency);
    if (first.pipelines.empty()) return first;
    Counts rest = counts_;
    for (const Piece& piece : first.pipelines.front()) --rest[piece.kind];
    const PipelineBounds bounds{bounds_.exactly > 0 ? bounds_.exactly - 1 : 0, bounds_.most > 0 ? bounds_.most - 1 : 0};
    std::vector<Pieces> others;
    if (total(rest) > 0) others = LargePlan(space_, rest, bounds, max_stages_).best_pipelines();
    if (bounds.exactly > 0 && others.size() != bounds.exactly) {
      // The quickest pipeline takes too much from the others: the quickest of a plan with enough pipelines stands in.
      others = best_pipelines();
      first.pipelines.clear();
      first.exact = false;
    }
    for (Pieces& pieces : others) first.pipelines.push_back(std::move(pieces));
    return first;
  }

  [[nodiscard]] Answer least_memory() {
    Answer smallest = one(Objective::memory);
    if (smallest.pipelines.empty()) return smallest;
    std::uint64_t most = 0;
    for (const Piece& piece : smallest.pipelines.front()) {
      most = std::max(most, space_.segments().memory(piece.from, piece.to).count);
    }
    // Several pipelines at once may need larger stages.
    Answer answer;
    bool same = true;
    for (double factor = 1; factor < 1e6 && answer.pipelines.empty(); factor *= 1.05, same = false) {
      space_.bound_memory(Bytes{static_cast<std::uint64_t>(factor * static_cast<double>(most))});
      answer.pipelines = best_pipelines();
    }
    if (answer.pipelines.empty() && bounds_.exactly == 0) answer.pipelines = smallest.pipelines;
    answer.exact = smallest.exact && same;
    answer.bound = smallest.exact ? static_cast<double>(most) : smallest.bound;
    return answer;
  }

  SearchSpace space_;
  Counts counts_;
  PipelineBounds bounds_;
  std::size_t max_stages_;
};

}  // namespace amp4ec::detail
