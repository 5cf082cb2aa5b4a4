// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/count_vectors.hpp>
#include <amp4ec/plan/detail/search_space.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The cheapest pipeline if there were any number of nodes of every kind, and each stage cost the price of its kind
/// beside its time: the Lagrangian relaxation of "no more nodes than there are". Shortest path over (boundary, kind of
/// the stage before it), from the end backwards. Times count with a weight: 1 for latency, 0 where only the caps
/// matter. O(k b s + b k^2) for k kinds, b boundaries and s boundaries that a stage spans.
class PricedPath {
 public:
  PricedPath(const SearchSpace& space, const Counts& counts, double most_us, double time_weight)
      : space_(space), most_us_(most_us), time_weight_(time_weight) {
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] > 0) kinds_.push_back(k);
    }
    find_link_times();
    to_go_.resize((space.end() + 1) * space.kinds());
    starts_.resize(space.end() * space.kinds());
  }

  /// prices: of one node of each kind, not negative.
  void solve(const std::vector<double>& prices) {
    std::fill(to_go_.begin(), to_go_.end(), 0.0);
    std::fill(starts_.begin(), starts_.end(), Start{});
    const std::size_t width = space_.kinds();
    const Segments& segments = space_.segments();
    for (std::size_t from = space_.end(); from-- > 0;) {
      Start* here = starts_.data() + from * width;
      for (const std::size_t k : kinds_) {
        const double speed = space_.kind(k).speed;
        const double most = most_us_ * speed * slack;
        const std::size_t reach = space_.reach(k, from);
        Start best;
        for (std::size_t to = from + 1; to <= reach; ++to) {
          const double time = segments.time_us(from, to);
          if (time > most) {
            if (segments.share_us(to) - segments.share_us(from) > most) break;
            continue;
          }
          const double counted = time_weight_ > 0 ? time_weight_ * space_.latency_us(k, time) : 0;
          const double cost = counted + to_go_[to * width + k];
          if (cost < best.cost) best = {cost, to};
        }
        here[k] = {best.cost + prices[k], best.to};
      }
      if (from == 0) break;
      arrive(from, here);
    }
  }

  /// The least cost of what comes after a stage on this kind that ends here. `infinity`: there is no way on.
  [[nodiscard]] double to_go(std::size_t boundary, std::size_t kind) const {
    return to_go_[boundary * space_.kinds() + kind];
  }

  /// The least cost of a whole pipeline.
  [[nodiscard]] double cost() const {
    double least = infinity;
    for (const std::size_t k : kinds_) least = std::min(least, starts_[k].cost);
    return least;
  }

  /// That pipeline. Only if `cost` is finite.
  [[nodiscard]] Pieces trace() const {
    Pieces pieces;
    std::size_t from = 0;
    while (from < space_.end()) {
      std::size_t chosen = kinds_.front();
      double least = infinity;
      for (const std::size_t k : kinds_) {
        const double link = pieces.empty() ? 0 : link_cost(pieces.back().kind, k, from);
        const double cost = starts_[from * space_.kinds() + k].cost + link;
        if (cost >= least) continue;
        least = cost;
        chosen = k;
      }
      const std::size_t to = starts_[from * space_.kinds() + chosen].to;
      pieces.push_back({chosen, from, to});
      from = to;
    }
    return pieces;
  }

 private:
  struct Start {
    double cost = infinity;  // of a stage that starts here and all after it
    std::size_t to = 0;
  };

  /// Links matter if one may be too slow, or if time counts.
  void find_link_times() {
    for (const std::size_t from : kinds_) {
      for (const std::size_t to : kinds_) {
        const LinkSpec* link = space_.link(from, to);
        slopes_.emplace_back();
        if (link == nullptr) continue;
        slopes_.back() = {link->latency_us, 1e6 / static_cast<double>(link->bandwidth.count)};
        if (time_weight_ > 0) links_matter_ = true;
        for (std::size_t b = 1; b < space_.end() && !links_matter_; ++b) {
          links_matter_ = space_.link_us(from, to, b) > most_us_;
        }
      }
    }
  }

  [[nodiscard]] double link_cost(std::size_t from, std::size_t to, std::size_t boundary) const {
    if (!links_matter_ || space_.link(from, to) == nullptr) return 0;
    const double time_us = space_.link_us(from, to, boundary);
    return time_us > most_us_ * slack ? infinity : time_weight_ * time_us;
  }

  void arrive(std::size_t boundary, const Start* starts) {
    double* to_go = to_go_.data() + boundary * space_.kinds();
    if (!links_matter_) {
      double least = infinity;
      for (const std::size_t k : kinds_) least = std::min(least, starts[k].cost);
      for (const std::size_t k : kinds_) to_go[k] = least;
      return;
    }
    const auto bytes = static_cast<double>(space_.segments().crossing(boundary).count);
    const Slope* slope = slopes_.data();
    for (const std::size_t from : kinds_) {
      double least = infinity;
      for (const std::size_t to : kinds_) {
        const double time_us = slope->latency_us + bytes * slope->us_per_byte;
        ++slope;
        if (time_us <= most_us_ * slack) least = std::min(least, starts[to].cost + time_weight_ * time_us);
      }
      to_go[from] = least;
    }
  }

  /// Relaxed bounds stay bounds when a time is rounded.
  static constexpr double slack = 1 + 1e-12;

  /// A link's time is linear in what crosses.
  struct Slope {
    double latency_us = 0;
    double us_per_byte = 0;
  };

  const SearchSpace& space_;
  double most_us_;
  double time_weight_;
  bool links_matter_ = false;
  std::vector<std::size_t> kinds_;
  std::vector<Slope> slopes_;  // [place in kinds_ of the sender][of the receiver]
  std::vector<double> to_go_;  // [boundary][kind]
  std::vector<Start> starts_;  // [boundary][kind]
};

/// Improves prices by the subgradient method: a kind of which the relaxed pipeline has more nodes than there are gets
/// dearer, others cheaper. For any prices, the cost of the relaxed pipeline less what all nodes together cost is a
/// lower bound on the time of every real one (weight 1); with weight 0, if it is above zero there is no real one.
class Multipliers {
 public:
  Multipliers(const SearchSpace& space, const Counts& counts, std::size_t max_stages, double most_us,
              double time_weight)
      : counts_(counts), path_(space, counts, most_us, time_weight), feasibility_(time_weight == 0) {
    max_stages_ = max_stages;
    prices_.assign(counts.size(), 0);
  }

  [[nodiscard]] const std::vector<double>& prices() const noexcept { return prices_; }
  void start_from(std::vector<double> prices) { prices_ = std::move(prices); }
  [[nodiscard]] const PricedPath& path() const noexcept { return path_; }
  [[nodiscard]] const Pieces& best_real() const noexcept { return best_real_; }
  [[nodiscard]] double bound() const noexcept { return bound_; }

  /// target: stop when the bound passes it. Leaves prices and path at the best bound.
  void improve(std::size_t steps, double target) {
    std::vector<double> best_prices = prices_;
    std::vector<double> direction(prices_.size(), 0);
    double pace = 1;
    std::size_t since = 0;
    for (std::size_t step = 0; step < steps; ++step) {
      if (feasibility_) normalise();
      path_.solve(prices_);
      const double cost = path_.cost();
      if (cost == infinity) {
        bound_ = infinity;
        return;
      }
      const double value = cost - worth();
      if (value > bound_) {
        bound_ = value;
        best_prices = prices_;
        since = 0;
      } else if (++since == 4) {
        pace /= 2;
        since = 0;
      }
      if (bound_ > target || pace < 0.02) break;
      const Pieces pieces = path_.trace();
      Counts used(prices_.size(), 0);
      for (const Piece& piece : pieces) ++used[piece.kind];
      double norm = 0;
      bool real = true;
      bool tight = true;
      for (std::size_t k = 0; k < prices_.size(); ++k) {
        if (counts_[k] == 0) continue;
        double gradient = static_cast<double>(used[k]) - static_cast<double>(counts_[k]);
        real = real && gradient <= 0;
        tight = tight && (gradient == 0 || prices_[k] == 0);
        if (gradient < 0 && prices_[k] == 0) gradient = 0;
        direction[k] = gradient + 0.3 * direction[k];
        norm += direction[k] * direction[k];
      }
      real = real && (max_stages_ == 0 || pieces.size() <= max_stages_);
      if (real) best_real_ = pieces;
      if (norm == 0 || (real && tight)) break;
      const double aim = feasibility_ ? std::max(target, 0.0) + 0.02 : target;
      const double stride = pace * std::max(aim - value, 0.0) / norm;
      for (std::size_t k = 0; k < prices_.size(); ++k) prices_[k] = std::max(0.0, prices_[k] + stride * direction[k]);
    }
    prices_ = best_prices;
    path_.solve(prices_);
  }

 private:
  [[nodiscard]] double worth() const {
    double sum = 0;
    for (std::size_t k = 0; k < prices_.size(); ++k) sum += prices_[k] * static_cast<double>(counts_[k]);
    return sum;
  }
  void normalise() {
    const double sum = worth();
    for (double& price : prices_) price = sum > 0 ? price / sum : 1;
  }

  const Counts& counts_;
  PricedPath path_;
  bool feasibility_;
  std::size_t max_stages_ = 0;
  std::vector<double> prices_;
  Pieces best_real_;
  double bound_ = -infinity;
};

}  // namespace amp4ec::detail
