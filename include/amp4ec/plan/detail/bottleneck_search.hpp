// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/finish_sets.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Below this a bottleneck makes no difference to `rate_rps`.
inline constexpr double shortest_us = 1e-3;

/// The longest stage or link of a pipeline.
inline double bottleneck_us(const SearchSpace& space, const Pieces& pieces) {
  double longest = 0;
  for (std::size_t s = 0; s < pieces.size(); ++s) {
    longest = std::max(longest, space.stage_us(pieces[s].kind, pieces[s].from, pieces[s].to));
    if (s + 1 < pieces.size()) {
      longest = std::max(longest, space.link_us(pieces[s].kind, pieces[s + 1].kind, pieces[s].to));
    }
  }
  return longest;
}

/// Sum of all stages and links of a pipeline.
inline double latency_us(const SearchSpace& space, const Pieces& pieces) {
  double sum = 0;
  for (std::size_t s = 0; s < pieces.size(); ++s) {
    sum += space.latency_us(pieces[s].kind, pieces[s].from, pieces[s].to);
    if (s + 1 < pieces.size()) sum += space.link_us(pieces[s].kind, pieces[s + 1].kind, pieces[s].to);
  }
  return sum;
}

/// No pipeline has a smaller bottleneck, whatever its order and cuts: the nodes together are no faster (with as many
/// stages as are allowed), and the layers between two neighbouring boundaries lie on one node. `infinity` if some
/// such layers fit no node.
inline double bottleneck_bound_us(const SearchSpace& space, const Counts& counts, std::size_t max_stages) {
  const Segments& segments = space.segments();
  std::vector<double> speeds;
  for (std::size_t k = 0; k < counts.size(); ++k) speeds.insert(speeds.end(), counts[k], space.kind(k).speed);
  std::ranges::sort(speeds, std::greater<>());
  if (max_stages > 0 && speeds.size() > max_stages) speeds.resize(max_stages);
  double together = 0;
  for (const double speed : speeds) together += speed;
  double bound = segments.share_us(space.end()) / together;
  for (std::size_t b = 0; b < space.end(); ++b) {
    double fastest = 0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] > 0 && space.reach(k, b) > b) fastest = std::max(fastest, space.kind(k).speed);
    }
    if (fastest == 0) return infinity;
    bound = std::max(bound, (segments.share_us(b + 1) - segments.share_us(b)) / fastest);
  }
  return bound;
}

/// In no pipeline is the largest stage smaller: together the nodes hold all layers, and one of them those between two
/// neighbouring boundaries.
inline Bytes stage_memory_bound(const SearchSpace& space, const Counts& counts, std::size_t max_stages) {
  const Segments& segments = space.segments();
  const std::uint64_t fixed = segments.memory(0, 0).count;
  std::uint64_t bound = fixed;
  for (std::size_t b = 0; b < space.end(); ++b) bound = std::max(bound, segments.memory(b, b + 1).count);
  const double stages = static_cast<double>(max_stages == 0 ? space.end() : max_stages);
  const auto held = [&](double most) {
    double sum = 0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] > 0) sum += counts[k] * std::clamp(space.capacity(k), 0.0, most);
    }
    return std::min(sum, stages * most);
  };
  const double whole = segments.weights(space.end());
  double low = 0;
  double high = whole;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    (held(middle) < whole * (1 - 1e-12) ? low : high) = middle;
  }
  return Bytes{std::max(bound, fixed + static_cast<std::uint64_t>(low))};
}

/// Every time that a stage or a link may take, strictly between two bounds; ascending, each once.
inline std::vector<double> times_between(const SearchSpace& space, const Counts& counts, double low, double high) {
  std::vector<double> times;
  const auto consider = [&](double time_us) {
    if (time_us > low && time_us < high) times.push_back(time_us);
  };
  const Segments& segments = space.segments();
  for (std::size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] == 0) continue;
    for (std::size_t from = 0; from < space.end(); ++from) {
      const double least_share = segments.share_us(from) + high * space.kind(k).speed;
      for (std::size_t to = from + 1; to <= space.reach(k, from) && segments.share_us(to) <= least_share; ++to) {
        consider(space.stage_us(k, from, to));
      }
    }
    for (std::size_t next = 0; next < counts.size(); ++next) {
      if (counts[next] == 0 || space.link(k, next) == nullptr) continue;
      for (std::size_t b = 1; b < space.end(); ++b) consider(space.link_us(k, next, b));
    }
  }
  std::ranges::sort(times);
  times.erase(std::unique(times.begin(), times.end()), times.end());
  return times;
}

struct FoundBottleneck {
  double time_us = 0;
  Pieces pieces;
};

/// The one pipeline of least bottleneck on at most these nodes: bisection over the bottleneck, first by value and then
/// among the times that a stage or link can take, each step answered by `FinishSets`. Exact; no pipeline if none fits.
class BottleneckSearch {
 public:
  BottleneckSearch(const SearchSpace& space, const CountVectors& vectors, std::size_t max_stages)
      : space_(space), vectors_(vectors), max_stages_(max_stages) {}

  [[nodiscard]] std::optional<FoundBottleneck> run() {
    const double bound_us = bottleneck_bound_us(space_, vectors_.most(), max_stages_);
    if (bound_us == infinity) return std::nullopt;
    // Rounding must not put the bound above the best.
    low_us_ = std::max(bound_us * (1 - 1e-12), shortest_us);
    if (test(low_us_)) return best_;
    if (!gallop()) return std::nullopt;
    constexpr double close = 1.002;
    while (best_->time_us > low_us_ * close) test(std::sqrt(low_us_ * best_->time_us));
    const std::vector<double> times = times_between(space_, vectors_.most(), low_us_, best_->time_us);
    std::size_t first = 0;
    std::size_t last = times.size();  // times from here on are no better than the best known
    while (first < last) {
      const std::size_t middle = (first + last) / 2;
      if (test(times[middle])) {
        last = middle;
      } else {
        first = middle + 1;
      }
    }
    return best_;
  }

 private:
  /// Raises the bound until a pipeline keeps it.
  bool gallop() {
    double factor = 1.02;
    for (int step = 0; step < 8; ++step, factor *= factor) {
      if (test(low_us_ * factor)) return true;
    }
    return test(infinity);
  }

  bool test(double most_us) {
    const FinishSets sets(space_, vectors_, most_us, max_stages_, true);
    if (!sets.feasible()) {
      low_us_ = most_us;
      return false;
    }
    Pieces pieces = sets.trace();
    const double time_us = bottleneck_us(space_, pieces);
    best_ = {time_us, std::move(pieces)};
    return true;
  }

  const SearchSpace& space_;
  const CountVectors& vectors_;
  std::size_t max_stages_;
  double low_us_ = 0;  // no pipeline has a bottleneck of this or less
  std::optional<FoundBottleneck> best_;
};

}  // namespace amp4ec::detail
