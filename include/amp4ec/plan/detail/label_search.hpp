// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/finish_sets.hpp>
#include <amp4ec/plan/detail/lagrangian_search.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The pipelines of least latency within caps: label setting over (boundary, nodes left, kind of the last stage), with
/// labels dropped that cannot be finished (`FinishSets`) or cannot beat a limit by the Lagrangian bound on what is
/// still to come. The limit starts at the bound on the whole and rises until a pipeline keeps it, so the first found
/// are the best. Among equal latencies the smaller bottleneck is kept.
class LabelSearch {
 public:
  struct Label {
    double sum_us = 0;
    double longest_us = 0;
    std::size_t left = 0;  // number of the vector of nodes not yet used
    std::uint32_t kind = 0;
    std::uint32_t boundary = 0;
    std::uint32_t stages = 0;
    std::int32_t parent = -1;
  };

  /// most_us: no stage or link may take longer. finish: for the same vectors, bound and stages; not cut short.
  /// viable: whether a pipeline may leave these nodes, by the number of their vector; empty: any.
  LabelSearch(const SearchSpace& space, const CountVectors& vectors, const FinishSets& finish, double most_us,
              std::size_t max_stages, std::vector<bool> viable = {})
      : space_(space),
        vectors_(vectors),
        finish_(finish),
        most_us_(most_us),
        max_stages_(max_stages == 0 ? space.end() : max_stages),
        viable_(std::move(viable)) {}

  /// multipliers: for the same counts and bound, with time weight 1. known: a viable pipeline within the caps; empty if
  /// none is known. most_labels: gives up beyond; then `complete` is false.
  void run(const Multipliers& multipliers, const Pieces& known, std::size_t most_labels) {
    known_ = known;
    path_ = &multipliers.path();
    prices_ = multipliers.prices();
    const double known_us = known.empty() ? infinity : latency_us(space_, known);
    lower_bound_us_ = std::min(std::max(multipliers.bound(), 0.0), known_us);
    all_prices_ = 0;
    for (std::size_t k = 0; k < vectors_.kinds(); ++k) all_prices_ += prices_[k] * vectors_.most()[k];
    limit_us_ = std::max(lower_bound_us_, shortest_us);
    double growth = 1.01;
    // The last round has no limit but the known pipeline.
    for (int round = 0; ends_.empty(); ++round, growth = std::min(growth * growth, 4.0)) {
      const bool last = round == 16 || limit_us_ >= known_us;
      if (last) limit_us_ = known_us;
      limit_us_ *= 1 + 1e-9;  // rounding must not drop the best
      if (!expand(most_labels)) return;
      if (last) break;
      if (ends_.empty()) lower_bound_us_ = std::min(limit_us_, known_us);
      limit_us_ *= growth;
    }
    complete_ = true;
    if (ends_.empty()) return;
    const double best_us = best_end()->sum_us;
    lower_bound_us_ = best_us;
    std::erase_if(ends_, [&](std::int32_t e) { return labels_[e].sum_us > best_us * (1 + 1e-12); });
  }

  /// Whether nothing was left out.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  /// No pipeline within the caps has less latency.
  [[nodiscard]] double lower_bound_us() const noexcept { return lower_bound_us_; }

  /// The labels at the end of the model with the least latency, one for each vector of nodes and last kind.
  [[nodiscard]] std::vector<Label> ends() const {
    std::vector<Label> result;
    for (const std::int32_t e : ends_) result.push_back(labels_[e]);
    return result;
  }
  /// The best pipeline: of least latency, then of least bottleneck. Falls back to the known one.
  [[nodiscard]] Pieces best() const { return !complete_ || ends_.empty() ? known_ : trace(*best_end()); }

  [[nodiscard]] Pieces trace(const Label& end) const {
    Pieces pieces;
    for (const Label* label = &end; label->parent >= 0; label = &labels_[label->parent]) {
      pieces.push_back({label->kind, labels_[label->parent].boundary, label->boundary});
    }
    std::ranges::reverse(pieces);
    return pieces;
  }

 private:
  static bool better(const Label& a, const Label& b) {
    return a.sum_us < b.sum_us || (a.sum_us == b.sum_us && a.longest_us < b.longest_us);
  }

  [[nodiscard]] const Label* best_end() const {
    const Label* best = &labels_[ends_.front()];
    for (const std::int32_t e : ends_) {
      if (better(labels_[e], *best)) best = &labels_[e];
    }
    return best;
  }

  /// All labels within the limit. False if they are too many.
  bool expand(std::size_t most_labels) {
    labels_.clear();
    ends_.clear();
    at_.assign(space_.end() + 1, {});
    labels_.push_back({0, 0, vectors_.full(), 0, 0, 0, -1});
    at_[0].index.emplace(vectors_.full(), 0);
    at_[0].labels.push_back(0);
    for (std::size_t b = 0; b < space_.end(); ++b) {
      for (const std::int32_t label : at_[b].labels) {
        extend(label);
        if (labels_.size() > most_labels) return false;
      }
      at_[b].index.clear();
    }
    ends_ = at_[space_.end()].labels;
    // Where nodes with a price are left over, the bound is below the latency itself.
    std::erase_if(ends_, [&](std::int32_t e) { return labels_[e].sum_us > limit_us_; });
    return true;
  }

  void extend(std::int32_t parent) {
    const Label label = labels_[parent];
    if (label.stages == max_stages_) return;
    double spent = -all_prices_;  // prices of the nodes used so far, less those of all
    for (std::size_t k = 0; k < vectors_.kinds(); ++k) {
      if (vectors_.most()[k] > 0) spent += prices_[k] * (vectors_.most()[k] - vectors_.count(label.left, k));
    }
    for (std::size_t k = 0; k < vectors_.kinds(); ++k) {
      if (vectors_.count(label.left, k) == 0) continue;
      const double link_us = label.parent < 0 ? 0 : space_.link_us(label.kind, k, label.boundary);
      if (link_us > most_us_) continue;
      const std::size_t left = label.left - vectors_.one(k);
      if (!viable_.empty() && !viable_[left]) continue;
      const double room_us = limit_us_ - label.sum_us - link_us - (spent + prices_[k]);
      const double speed = space_.kind(k).speed;
      const Segments& segments = space_.segments();
      const double most_share = segments.share_us(label.boundary) + most_us_ * speed * (1 + 1e-12);
      for (std::size_t to = label.boundary + 1; to <= space_.reach(k, label.boundary); ++to) {
        if (segments.share_us(to) > most_share) break;
        const double time_us = space_.stage_us(k, label.boundary, to);
        const double alone_us = space_.latency_us(k, label.boundary, to);
        if (time_us > most_us_ || alone_us + path_->to_go(to, k) > room_us) continue;
        if (!finish_.can_finish(left, k, to)) continue;
        insert({label.sum_us + link_us + alone_us, std::max({label.longest_us, link_us, time_us}), left,
                static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(to), label.stages + 1, parent});
      }
    }
  }

  /// Keeps the best label of each state. With the nodes left the number of stages is fixed as well.
  void insert(const Label& label) {
    At& at = at_[label.boundary];
    const auto [place, fresh] =
        at.index.emplace(label.left * vectors_.kinds() + label.kind, static_cast<std::int32_t>(labels_.size()));
    if (fresh) {
      at.labels.push_back(place->second);
      labels_.push_back(label);
    } else if (better(label, labels_[place->second])) {
      labels_[place->second] = label;
    }
  }

  struct At {
    std::unordered_map<std::size_t, std::int32_t> index;
    std::vector<std::int32_t> labels;
  };

  const SearchSpace& space_;
  const CountVectors& vectors_;
  const FinishSets& finish_;
  double most_us_;
  std::size_t max_stages_;
  std::vector<bool> viable_;
  const PricedPath* path_ = nullptr;  // while `run` runs
  std::vector<double> prices_;
  double all_prices_ = 0;
  double limit_us_ = 0;
  double lower_bound_us_ = 0;
  bool complete_ = false;
  Pieces known_;
  std::vector<Label> labels_;
  std::vector<At> at_;              // [boundary]
  std::vector<std::int32_t> ends_;  // labels at the end of the model
};

/// Of the pipelines within a bottleneck on at most these nodes, the one of least latency, if it can be found in
/// reasonable time: else some such pipeline. Empty if there is none.
inline Pieces shortest_within(const SearchSpace& space, const CountVectors& vectors, double most_us,
                              std::size_t max_stages, std::size_t most_labels) {
  const FinishSets finish(space, vectors, most_us, max_stages, false);
  if (!finish.feasible()) return {};
  const Pieces known = finish.trace();
  Multipliers multipliers(space, vectors.most(), max_stages, most_us, 1);
  multipliers.improve(12, latency_us(space, known));
  LabelSearch search(space, vectors, finish, most_us, max_stages);
  search.run(multipliers, known, most_labels);
  return search.best();
}

}  // namespace amp4ec::detail
