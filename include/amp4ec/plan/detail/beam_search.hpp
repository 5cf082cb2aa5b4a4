// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/relaxation.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <vector>

namespace amp4ec::detail {

/// Looks for one good pipeline where the exact searches are too large: stage by stage, keeping the most promising
/// beginnings only. What it finds is real; that it finds nothing proves nothing. O(n w k s) for n stages, a width of w,
/// k kinds and s boundaries that a stage spans.
class BeamSearch {
 public:
  BeamSearch(const SearchSpace& space, const Counts& counts, std::size_t max_stages, std::size_t width)
      : space_(space), counts_(counts), width_(width) {
    max_stages_ = max_stages == 0 ? space.end() : max_stages;
    std::uint64_t seed = 0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      seed = mix(seed + k + 1);
      marks_.push_back(seed);
      if (counts[k] > 0) kinds_.push_back(k);
    }
  }

  /// A pipeline with no stage or link longer than this, or nothing. Beginnings are ranked by what is scarcer after
  /// them, time or memory: the share of all that the nodes left could take which the layers left need.
  [[nodiscard]] Pieces within(double most_us) {
    path_ = nullptr;
    most_us_ = most_us;
    return run();
  }

  /// A pipeline of little latency, or nothing. Beginnings are ranked by the Lagrangian bound on the whole.
  [[nodiscard]] Pieces shortest(const PricedPath& path, const std::vector<double>& prices, double most_us) {
    path_ = &path;
    prices_ = prices;
    most_us_ = most_us;
    return run();
  }

 private:
  struct Label {
    double spent = 0;     // latency and prices so far
    double speed = 0;     // of all nodes left
    double capacity = 0;  // of all nodes left
    std::size_t boundary = 0;
    std::size_t kind = 0;
    std::int32_t parent = -1;
    std::uint64_t hash = 0;  // of the nodes used
  };
  struct Candidate {
    double score = 0;
    double spent = 0;
    std::uint32_t parent = 0;  // in the beam
    std::uint32_t kind = 0;
    std::uint32_t boundary = 0;
    std::uint64_t key = 0;  // of what makes two candidates the same
  };

  static std::uint64_t mix(std::uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111eb;
    return x ^ (x >> 31U);
  }

  [[nodiscard]] Pieces run() {
    labels_.clear();
    Label start;
    for (const std::size_t k : kinds_) {
      start.speed += counts_[k] * space_.kind(k).speed;
      start.capacity += counts_[k] * std::max(space_.capacity(k), 0.0);
    }
    labels_.push_back(start);
    std::vector<std::int32_t> beam{0};
    std::vector<std::uint32_t> left(counts_.begin(), counts_.end());  // [place in the beam][kind]
    best_end_ = -1;
    best_spent_ = infinity;
    for (std::size_t stage = 0; stage < max_stages_ && !beam.empty(); ++stage) {
      collect(beam, left);
      if (best_end_ >= 0 && path_ == nullptr) break;
      advance(beam, left);
    }
    Pieces pieces;
    for (std::int32_t l = best_end_; l >= 0 && labels_[l].parent >= 0; l = labels_[l].parent) {
      pieces.push_back({labels_[l].kind, labels_[labels_[l].parent].boundary, labels_[l].boundary});
    }
    std::ranges::reverse(pieces);
    return pieces;
  }

  /// All ways to add a stage to the beam, or rather the best of them.
  void collect(const std::vector<std::int32_t>& beam, const std::vector<std::uint32_t>& left) {
    const Segments& segments = space_.segments();
    candidates_.clear();
    cutoff_ = infinity;
    for (std::size_t place = 0; place < beam.size(); ++place) {
      const Label label = labels_[beam[place]];
      for (const std::size_t k : kinds_) {
        if (left[place * counts_.size() + k] == 0) continue;
        const double link_us = label.parent < 0 ? 0 : space_.link_us(label.kind, k, label.boundary);
        if (link_us > most_us_) continue;
        const double speed = space_.kind(k).speed;
        const double most_share = segments.share_us(label.boundary) + most_us_ * speed;
        const double base = label.spent + link_us + (path_ != nullptr ? prices_[k] : 0);
        const double speed_left = label.speed - speed;
        const double capacity_left = label.capacity - space_.capacity(k);
        for (std::size_t to = space_.reach(k, label.boundary); to > label.boundary; --to) {
          if (segments.share_us(to) > most_share) continue;
          const double time_us = space_.stage_us(k, label.boundary, to);
          if (time_us > most_us_) continue;
          const double spent = base + space_.latency_us(k, label.boundary, to);
          const double score = path_ != nullptr ? spent + path_->to_go(to, k) : scarcity(to, speed_left, capacity_left);
          if (to == space_.end()) {
            finish(beam[place], k, spent);
            continue;
          }
          if (path_ == nullptr && score > 1 + 1e-9) break;  // nearer ends leave even more to the rest
          if (score >= cutoff_ || score >= best_spent_) continue;
          const std::uint64_t key = mix(label.hash + marks_[k] + to * 0x100000001b3 + (space_.linked() ? k : 0));
          candidates_.push_back({score, spent, static_cast<std::uint32_t>(place), static_cast<std::uint32_t>(k),
                                 static_cast<std::uint32_t>(to), key});
          if (candidates_.size() > 16 * width_) keep_best();
        }
      }
    }
    keep_best();
  }

  /// What the layers left need of what the nodes left can take; past 1 it cannot be done.
  [[nodiscard]] double scarcity(std::size_t boundary, double speed, double capacity) const {
    const Segments& segments = space_.segments();
    const double time = segments.share_us(space_.end()) - segments.share_us(boundary);
    const double memory = segments.weights(space_.end()) - segments.weights(boundary);
    const double of_time = most_us_ == infinity ? 0 : time / std::max(most_us_ * speed, 1e-9 * time);
    const double of_memory = capacity == infinity ? 0 : memory / std::max(capacity, 1e-9 * memory);
    return std::max(of_time, of_memory) + 1e-3 * std::min(of_time, of_memory);
  }

  void finish(std::int32_t parent, std::size_t kind, double spent) {
    if (spent >= best_spent_) return;
    best_spent_ = spent;
    best_end_ = static_cast<std::int32_t>(labels_.size());
    labels_.push_back({spent, 0, 0, space_.end(), kind, parent, 0});
  }

  void keep_best() {
    std::ranges::sort(candidates_, {}, &Candidate::score);
    std::unordered_set<std::uint64_t> seen;
    std::size_t kept = 0;
    for (const Candidate& candidate : candidates_) {
      if (kept == width_) break;
      if (seen.insert(candidate.key).second) candidates_[kept++] = candidate;
    }
    candidates_.resize(kept);
    if (kept == width_) cutoff_ = candidates_.back().score;
  }

  void advance(std::vector<std::int32_t>& beam, std::vector<std::uint32_t>& left) {
    std::vector<std::int32_t> next;
    std::vector<std::uint32_t> next_left;
    for (const Candidate& c : candidates_) {
      const Label& parent = labels_[beam[c.parent]];
      const auto from = left.begin() + static_cast<std::ptrdiff_t>(c.parent * counts_.size());
      next_left.insert(next_left.end(), from, from + static_cast<std::ptrdiff_t>(counts_.size()));
      --next_left[next_left.size() - counts_.size() + c.kind];
      next.push_back(static_cast<std::int32_t>(labels_.size()));
      labels_.push_back({c.spent, parent.speed - space_.kind(c.kind).speed, parent.capacity - space_.capacity(c.kind),
                         c.boundary, c.kind, beam[c.parent], parent.hash + marks_[c.kind]});
    }
    beam = std::move(next);
    left = std::move(next_left);
  }

  const SearchSpace& space_;
  const Counts& counts_;
  std::size_t width_;
  std::size_t max_stages_ = 0;
  std::vector<std::size_t> kinds_;
  std::vector<std::uint64_t> marks_;  // [kind]
  const PricedPath* path_ = nullptr;
  std::vector<double> prices_;
  double most_us_ = infinity;
  std::vector<Label> labels_;
  std::vector<Candidate> candidates_;
  double cutoff_ = infinity;
  double best_spent_ = infinity;
  std::int32_t best_end_ = -1;
};

}  // namespace amp4ec::detail
