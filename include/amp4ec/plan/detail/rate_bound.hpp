// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/count_vectors.hpp>
#include <amp4ec/plan/detail/search_space.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace amp4ec::detail {

/// An upper bound on the requests a second of any number of pipelines. Every layer is run as often as there are
/// requests, so with weights over the layers that sum to one, rate = sum over the layers of weight times rate; and of
/// that a node contributes at most the best of weight(segment) / max(stage time, quickest links in and out) over all
/// segments that it can hold. Any weights give a bound; multiplicative updates move weight to the layers that the
/// nodes' choices leave short. O(k b s) a step for k kinds, b boundaries and s boundaries that a segment spans.
class RateBound {
 public:
  /// Where a node may hold several stages, its segments may use different links at once: then links are ignored.
  enum class Links { counted, ignored };

  RateBound(const SearchSpace& space, const Counts& counts, Links links = Links::counted)
      : space_(space), counts_(counts) {
    find_links(links == Links::counted && space.linked());
    weight_.resize(space.end());
    const double whole_us = space.segments().share_us(space.end());
    for (std::size_t b = 0; b < space.end(); ++b) {
      const double share_us = space.segments().share_us(b + 1) - space.segments().share_us(b);
      weight_[b] = whole_us > 0 ? std::max(share_us / whole_us, 1e-9) : 1;
    }
    normalise();
  }

  /// enough: stop when the bound is no higher. Returns requests a second.
  [[nodiscard]] double find(std::size_t steps, double enough) {
    double best = infinity;
    double pace = 1;
    for (std::size_t step = 0; step < steps; ++step) {
      const double bound = evaluate();
      if (bound >= best) {
        pace *= 0.7;
      } else {
        best = bound;
        best_worth_ = worth_;
      }
      if (best <= enough || pace < 0.05) break;
      const double stride = pace / std::sqrt(1.0 + static_cast<double>(step));
      for (std::size_t b = 0; b < weight_.size(); ++b) {
        weight_[b] *= std::exp(-stride * std::clamp(served_[b] / bound - 1, -1.0, 1.0));
      }
      normalise();
    }
    return best;
  }

  /// What one node of each kind adds to the bound found.
  [[nodiscard]] const std::vector<double>& worth() const noexcept { return best_worth_; }

 private:
  /// The quickest link into and out of a kind at each boundary; nothing comes in at the start or goes out at the end.
  void find_links(bool counted) {
    const std::size_t width = space_.end() + 1;
    in_us_.assign(space_.kinds() * width, 0);
    out_us_.assign(space_.kinds() * width, 0);
    if (!counted) return;
    for (std::size_t k = 0; k < space_.kinds(); ++k) {
      for (std::size_t b = 1; b < space_.end(); ++b) {
        double in = infinity;
        double out = infinity;
        for (std::size_t other = 0; other < space_.kinds(); ++other) {
          if (counts_[other] == 0 || (other == k && counts_[k] < 2)) continue;
          in = std::min(in, space_.link_us(other, k, b));
          out = std::min(out, space_.link_us(k, other, b));
        }
        in_us_[k * width + b] = in;
        out_us_[k * width + b] = out;
      }
    }
  }

  void normalise() {
    double sum = 0;
    for (const double weight : weight_) sum += weight;
    before_.assign(space_.end() + 1, 0);
    for (std::size_t b = 0; b < weight_.size(); ++b) {
      weight_[b] /= sum;
      before_[b + 1] = before_[b] + weight_[b];
    }
  }

  /// The bound by the present weights; notes how often each layer is run by the nodes' choices.
  [[nodiscard]] double evaluate() {
    const std::size_t width = space_.end() + 1;
    served_.assign(space_.end() + 1, 0);
    worth_.assign(space_.kinds(), 0);
    double bound = 0;
    for (std::size_t k = 0; k < space_.kinds(); ++k) {
      if (counts_[k] == 0) continue;
      double best = 0;
      double best_us = 1;
      std::size_t best_from = 0;
      std::size_t best_to = 0;
      for (std::size_t from = 0; from < space_.end(); ++from) {
        const double in_us = std::max(in_us_[k * width + from], 1e-3);  // as in rate_rps
        if (in_us == infinity) continue;
        for (std::size_t to = from + 1; to <= space_.reach(k, from); ++to) {
          const double time_us = std::max({space_.stage_us(k, from, to), in_us, out_us_[k * width + to]});
          const double weight = before_[to] - before_[from];
          if (weight * best_us <= best * time_us) continue;
          best = weight;
          best_us = time_us;
          best_from = from;
          best_to = to;
        }
      }
      if (best <= 0) continue;
      const double rate = counts_[k] * 1e6 / best_us;
      bound += rate * best;
      worth_[k] = best * 1e6 / best_us;
      for (std::size_t b = best_from; b < best_to; ++b) served_[b] += rate;
    }
    return bound * (1 + 1e-9);
  }

  const SearchSpace& space_;
  const Counts& counts_;
  std::vector<double> in_us_;   // [kind][boundary]
  std::vector<double> out_us_;  // [kind][boundary]
  std::vector<double> weight_;  // of the layers between a boundary and the next
  std::vector<double> before_;  // sums of it
  std::vector<double> served_;  // requests a second that run them
  std::vector<double> worth_;   // [kind], of one node by the present weights
  std::vector<double> best_worth_;
};

}  // namespace amp4ec::detail
