// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/edgeshard_model.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace amp4ec::detail {

inline constexpr double edgeshard_never = std::numeric_limits<double>::infinity();

/// EdgeShard's recurrence for latency: D(i, j) = min over k of D(i-1, k) + t(i, j) + [k != j] comm(i, k, j), the least
/// time of the first units with unit i on device j. Beside its time a state keeps what the path that gave it has used
/// of each device's memory, and only that: a slower path that leaves more memory is forgotten.
class EdgeShardLatency {
 public:
  explicit EdgeShardLatency(const EdgeShardModel& model) : model_(model), devices_(model.devices()) {}

  /// The device of each unit; empty if no state of the last unit was reached.
  [[nodiscard]] std::vector<std::size_t> run() {
    std::vector<State> row;
    for (std::size_t j = 0; j < devices_; ++j) row.push_back(first(j));
    for (std::size_t unit = 1; unit < model_.units(); ++unit) {
      std::vector<State> next;
      next.reserve(devices_);
      std::vector<std::size_t>& came_from = came_from_.emplace_back(devices_, devices_);
      for (std::size_t j = 0; j < devices_; ++j) next.push_back(extend(row, unit, j, came_from[j]));
      row = std::move(next);
    }
    const auto best = std::ranges::min_element(row, {}, &State::us);
    if (best->us == edgeshard_never) return {};
    return trace(static_cast<std::size_t>(best - row.begin()));
  }

 private:
  struct State {
    double us = edgeshard_never;
    std::size_t stage_from = 0;  // boundary where the stage on this state's device begins
    std::vector<Bytes> used;     // by finished stages, for each device
  };

  [[nodiscard]] State first(std::size_t device) const {
    if (!model_.holds(device, model_.memory(0, 1))) return {};
    return {model_.compute_us(device, 0, 1), 0, std::vector<Bytes>(devices_)};
  }

  /// Time of the state that follows `before` (on k) with the unit on j; never, where the memory left does not do.
  [[nodiscard]] double arrive(const State& before, std::size_t k, std::size_t unit, std::size_t j) const {
    if (before.us == edgeshard_never) return edgeshard_never;
    const std::size_t stage_from = k == j ? before.stage_from : unit;
    if (!model_.holds(j, before.used[j] + model_.memory(stage_from, unit + 1))) return edgeshard_never;
    return before.us + model_.compute_us(j, unit, unit + 1) + (k == j ? 0 : model_.send_us(k, j, unit));
  }

  /// Among equals the unit stays where the one before it is, then the first device is taken.
  [[nodiscard]] State extend(const std::vector<State>& row, std::size_t unit, std::size_t j,
                             std::size_t& came_from) const {
    came_from = j;
    State state;
    state.us = arrive(row[j], j, unit, j);
    for (std::size_t k = 0; k < devices_; ++k) {
      const double us = k == j ? edgeshard_never : arrive(row[k], k, unit, j);
      if (!(us < state.us)) continue;
      state.us = us;
      came_from = k;
    }
    if (state.us == edgeshard_never) return state;
    state.used = row[came_from].used;
    state.stage_from = row[came_from].stage_from;
    if (came_from == j) return state;
    state.used[came_from] += model_.memory(state.stage_from, unit);
    state.stage_from = unit;
    return state;
  }

  [[nodiscard]] std::vector<std::size_t> trace(std::size_t device) const {
    std::vector<std::size_t> path(model_.units(), device);
    for (std::size_t unit = model_.units() - 1; unit > 0; --unit) {
      path[unit - 1] = came_from_[unit - 1][path[unit]];
    }
    return path;
  }

  const EdgeShardModel& model_;
  std::size_t devices_;
  std::vector<std::vector<std::size_t>> came_from_;  // [unit - 1][device]: device of the unit before
};

/// EdgeShard's recurrence for throughput: h(m, S + {j}, j) = min over i < m and k in S of max{ h(i, S, k),
/// sum of t(l, j) for i < l <= m, comm(i, k, j) }, the least bottleneck of the first m units on exactly the devices in
/// S + {j}, the last of them j.
class EdgeShardThroughput {
 public:
  explicit EdgeShardThroughput(const EdgeShardModel& model, std::size_t max_stages)
      : model_(model), devices_(model.devices()), table_((std::size_t{1} << devices_) * devices_) {
    for (Set set = 1; set < Set{1} << devices_; ++set) {
      if (max_stages > 0 && static_cast<std::size_t>(std::popcount(set)) > max_stages) continue;
      for (std::size_t j = 0; j < devices_; ++j) {
        if ((set >> j & 1U) != 0) fill(set, j);
      }
    }
  }

  /// The device of each unit; empty if nothing fits.
  [[nodiscard]] std::vector<std::size_t> run() const {
    Set set = 0;
    std::size_t device = 0;
    double best = edgeshard_never;
    for (Set candidate = 1; candidate < Set{1} << devices_; ++candidate) {
      for (std::size_t j = 0; j < devices_; ++j) {
        const std::vector<double>& row = at(candidate, j);
        if (row.empty() || !(row[model_.units()] < best)) continue;
        best = row[model_.units()];
        set = candidate;
        device = j;
      }
    }
    return best == edgeshard_never ? std::vector<std::size_t>{} : trace(set, device);
  }

 private:
  using Set = std::uint32_t;  // of devices: bit j is device j

  [[nodiscard]] const std::vector<double>& at(Set set, std::size_t last) const { return table_[set * devices_ + last]; }

  /// max{ h(i, S, k), comm(i, k, j) } for the best k, which is returned as well.
  [[nodiscard]] std::pair<double, std::size_t> arrive(Set before, std::size_t j, std::size_t boundary) const {
    if (before == 0) return {boundary == 0 ? 0 : edgeshard_never, j};
    std::pair<double, std::size_t> best{edgeshard_never, j};
    for (std::size_t k = 0; k < devices_; ++k) {
      const std::vector<double>& row = at(before, k);
      if (row.empty()) continue;
      const double us = std::max(row[boundary], model_.send_us(k, j, boundary));
      if (us < best.first) best = {us, k};
    }
    return best;
  }

  void fill(Set set, std::size_t j) {
    std::vector<double> row(model_.units() + 1, edgeshard_never);
    bool any = false;
    for (std::size_t i = 0; i < model_.units(); ++i) {
      const double start = arrive(set & ~(Set{1} << j), j, i).first;
      if (start == edgeshard_never) continue;
      for (std::size_t m = i + 1; m <= model_.units() && model_.holds(j, model_.memory(i, m)); ++m) {
        row[m] = std::min(row[m], std::max(start, model_.compute_us(j, i, m)));
        any = true;
      }
    }
    if (any) table_[set * devices_ + j] = std::move(row);
  }

  [[nodiscard]] std::vector<std::size_t> trace(Set set, std::size_t j) const {
    std::vector<std::size_t> path(model_.units());
    std::size_t m = model_.units();
    while (m > 0) {
      const double value = at(set, j)[m];
      set &= ~(Set{1} << j);
      std::size_t i = m;
      std::pair<double, std::size_t> from;
      do {
        --i;
        from = arrive(set, j, i);
      } while (i > 0 && std::max(from.first, model_.compute_us(j, i, m)) > value);
      std::fill(path.begin() + static_cast<std::ptrdiff_t>(i), path.begin() + static_cast<std::ptrdiff_t>(m), j);
      m = i;
      j = from.second;
    }
    return path;
  }

  const EdgeShardModel& model_;
  std::size_t devices_;
  std::vector<std::vector<double>> table_;  // [set * devices + last][units done]; empty where nothing fits
};

}  // namespace amp4ec::detail
