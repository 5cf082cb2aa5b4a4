// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/simulation.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace amp4ec::detail {

/// A count that changes over time, its mean and its maximum.
class TimedCount {
 public:
  [[nodiscard]] std::size_t value() const noexcept { return value_; }
  [[nodiscard]] double area() const noexcept { return area_; }  ///< Its integral, count times microseconds.

  void set(double now_us, std::size_t value) noexcept {
    area_ += static_cast<double>(value_) * (now_us - changed_us_);
    changed_us_ = now_us;
    value_ = static_cast<std::uint32_t>(value);
    max_ = std::max(max_, value_);
  }
  void move_to(double now_us) noexcept { set(now_us, value_); }

  /// Begins to measure here.
  void forget(double now_us) noexcept {
    changed_us_ = now_us;
    area_ = 0;
    max_ = value_;
  }

  [[nodiscard]] QueueFigures over(double time_us) const noexcept { return {time_us > 0 ? area_ / time_us : 0, max_}; }

 private:
  double area_ = 0;
  double changed_us_ = 0;
  std::uint32_t value_ = 0;
  std::uint32_t max_ = 0;
};

/// The value below which this share of the values lies, by nearest rank. Reorders them. @pre not empty
inline double nearest_rank(std::span<double> values, double share) {
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(share * static_cast<double>(values.size()))));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(std::min(rank, values.size()) - 1);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

inline LatencyFigures latency_figures(std::vector<double> latencies_ms) {
  if (latencies_ms.empty()) return {};
  LatencyFigures figures;
  for (const double latency : latencies_ms) {
    figures.mean += latency / static_cast<double>(latencies_ms.size());
    figures.max = std::max(figures.max, latency);
  }
  figures.p50 = nearest_rank(latencies_ms, 0.5);
  figures.p90 = nearest_rank(latencies_ms, 0.9);
  figures.p99 = nearest_rank(latencies_ms, 0.99);
  return figures;
}

/// When a request was answered, and how long it took.
struct AnsweredRequest {
  double at_us = 0;
  double latency_us = 0;
  bool counted = false;  ///< Came after the warm-up.
};

/// @pre the answers are in the order of their times, none past the end.
inline void fill_timeline(Simulation& simulation, std::span<const AnsweredRequest> answers, double end_us) {
  constexpr double most = 10'000;
  const double end_s = end_us / 1e6;
  simulation.slice_s = std::max(1.0, std::ceil(end_s / most));
  auto answer = answers.begin();
  std::vector<double> latencies;
  for (std::size_t slice = 0; slice == 0 || static_cast<double>(slice) * simulation.slice_s < end_s; ++slice) {
    const double begin_s = static_cast<double>(slice) * simulation.slice_s;
    const bool last = begin_s + simulation.slice_s >= end_s;
    latencies.clear();
    for (; answer != answers.end() && (last || answer->at_us < 1e6 * (begin_s + simulation.slice_s)); ++answer) {
      latencies.push_back(answer->latency_us / 1e3);
    }
    const double length = last && end_s > begin_s ? end_s - begin_s : simulation.slice_s;
    simulation.timeline.push_back({begin_s, static_cast<double>(latencies.size()) / length, {}});
    if (!latencies.empty()) simulation.timeline.back().p99_ms = nearest_rank(latencies, 0.99);
  }
}

/// Watches whether the requests in a system grow while they arrive (see `Simulation::stable`).
class GrowthWatch {
 public:
  GrowthWatch() = default;
  /// Over the arrivals number `first` to `last`, counted from 0.
  GrowthWatch(std::size_t first, std::size_t last) {
    for (std::size_t q = 0; q < marks_.size(); ++q) marks_[q].arrival = first + (last - first) * q / quarters;
  }

  void on_arrival(std::size_t number, double now_us, double in_system_area) noexcept {
    for (; next_ < marks_.size() && marks_[next_].arrival <= number; ++next_) {
      marks_[next_].at_us = now_us;
      marks_[next_].area = in_system_area;
    }
  }

  /// `squared_variations`: of the times between arrivals and of service, together.
  void judge(double squared_variations, Simulation& simulation) const {
    if (next_ < marks_.size() || marks_.front().arrival == marks_.back().arrival) return;
    const double growth = mean_in(quarters) - mean_in(2);
    const double time_us = (marks_[4].at_us + marks_[3].at_us - marks_[2].at_us - marks_[1].at_us) / 2;
    // At exactly its capacity a queue is a random walk, whose means over two quarters of its length, half of it apart,
    // differ by 1/2 - (1/4) / 3 of the variance that it gathers. The small addend is for queues without any chance.
    const auto arrivals = static_cast<double>(marks_.back().arrival - marks_.front().arrival);
    constexpr double share = 5.0 / 12;
    constexpr double least = 2;
    constexpr double deviations = 2;
    if (time_us > 0) simulation.growth_rps = growth / (time_us / 1e6);
    simulation.stable = growth <= least + deviations * std::sqrt(share * squared_variations * arrivals);
  }

 private:
  struct Mark {
    std::size_t arrival = 0;
    double at_us = 0;
    double area = 0;
  };
  static constexpr std::size_t quarters = 4;

  /// Mean number in the system in this quarter, from 1.
  [[nodiscard]] double mean_in(std::size_t quarter) const {
    const Mark& from = marks_[quarter - 1];
    const Mark& to = marks_[quarter];
    return to.at_us > from.at_us ? (to.area - from.area) / (to.at_us - from.at_us) : 0;
  }

  std::array<Mark, quarters + 1> marks_{};
  std::size_t next_ = 0;
};

}  // namespace amp4ec::detail
