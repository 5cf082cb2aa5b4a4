// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/profile.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The places where an exact plan may cut, those valid, measured and not forbidden, and the cost of what lies between
/// them in constant time. Boundary 0 is the start of the model, `end()` its end.
class Segments {
 public:
  explicit Segments(const Profile& profile, std::span<const std::size_t> forbidden_cuts = {})
      : least_memory_(least_memory(profile)), whole_us_(profile.whole_us) {
    const LayerGraph& graph = profile.graph;
    const std::size_t last = graph.layers.size() - 1;
    const Bytes all_weights = weights_of(profile, 0, last);
    const bool estimated = profile.whole_memory.count == 0;
    whole_memory_ = estimated ? estimated_memory(profile, all_weights) : profile.whole_memory;
    std::vector<bool> forbidden(graph.cuts.size(), false);
    for (const std::size_t cut : forbidden_cuts) forbidden[cut] = true;

    boundaries_.push_back({0, whole_us_, whole_us_, Bytes{}, least_memory_, whole_memory_, 0});
    Bytes weights;
    double share_us = 0;
    for (std::size_t i = 0; i < last; ++i) {
      weights += graph.layers[i].weights;
      share_us += profile.layer_us[i];
      const CutCost& cost = profile.cut_costs[i];
      if (!graph.cuts[i].valid || !cost.measured || forbidden[i]) continue;
      boundaries_.push_back(
          {i + 1, cost.prefix_us, cost.suffix_us, graph.cuts[i].crossing,
           estimated ? estimated_memory(profile, weights) : cost.prefix_memory,
           estimated ? estimated_memory(profile, Bytes{all_weights.count - weights.count}) : cost.suffix_memory,
           share_us});
    }
    share_us += profile.layer_us[last];
    boundaries_.push_back({last + 1, whole_us_, 0, Bytes{}, whole_memory_, least_memory_, share_us});
    if (!profile.segments.empty()) look_up(profile);
    find_additive_memory();
  }

  [[nodiscard]] std::size_t end() const noexcept { return boundaries_.size() - 1; }
  [[nodiscard]] std::size_t first_layer(std::size_t boundary) const { return boundaries_[boundary].first_layer; }
  [[nodiscard]] std::size_t last_layer(std::size_t boundary) const { return boundaries_[boundary].first_layer - 1; }
  [[nodiscard]] Bytes crossing(std::size_t boundary) const { return boundaries_[boundary].crossing; }

  /// `segment_time_us` and `segment_memory` of the layers from boundary i to boundary j. Memory never falls when a
  /// segment grows; time may, because every cut has a cost of its own.
  [[nodiscard]] double time_us(std::size_t i, std::size_t j) const {
    if (!costs_.empty()) return cost(i, j).us;
    const Boundary& from = boundaries_[i];
    const Boundary& to = boundaries_[j];
    return std::max(to.share_us - from.share_us, to.prefix_us + from.suffix_us - whole_us_);
  }
  [[nodiscard]] Bytes memory(std::size_t i, std::size_t j) const {
    if (!costs_.empty()) return cost(i, j).memory;
    const std::uint64_t both = boundaries_[j].prefix_memory.count + boundaries_[i].suffix_memory.count;
    return std::max(least_memory_, Bytes{both - std::min(both, whole_memory_.count)});
  }

  /// The part of `time_us` that never falls when a segment grows: the layers' shares of the whole, summed from 0 to j.
  [[nodiscard]] double share_us(std::size_t j) const { return boundaries_[j].share_us; }
  /// The part of `memory` that adds up over a pipeline's stages, summed from 0 to j: memory(i, j) is at least
  /// memory(0, 0) + weights(j) - weights(i). It never falls. Where memory is estimated, the two are the same.
  [[nodiscard]] double weights(std::size_t j) const { return additive_memory_[j]; }

 private:
  struct Boundary {
    std::size_t first_layer;  // after it
    double prefix_us;
    double suffix_us;
    Bytes crossing;
    Bytes prefix_memory;
    Bytes suffix_memory;
    double share_us;  // of the whole's time: all layers before it
  };

  struct Cost {
    double us = 0;
    Bytes memory{};
  };
  [[nodiscard]] const Cost& cost(std::size_t i, std::size_t j) const { return costs_[i * boundaries_.size() + j]; }

  // All costs at once, where some of them follow no formula.
  void look_up(const Profile& profile) {
    std::vector<Cost> costs(boundaries_.size() * boundaries_.size());
    for (std::size_t i = 0; i < boundaries_.size(); ++i) {
      costs[i * boundaries_.size() + i] = {time_us(i, i), least_memory_};
      for (std::size_t j = i + 1; j < boundaries_.size(); ++j) {
        // The layers' share again: bounds count on it to the last bit.
        costs[i * boundaries_.size() + j] = {
            std::max(share_us(j) - share_us(i), segment_time_us(profile, first_layer(i), last_layer(j))),
            segment_memory(profile, first_layer(i), last_layer(j))};
      }
    }
    costs_ = std::move(costs);
  }

  // The largest sums that keep the promise of `weights`, pair by pair.
  void find_additive_memory() {
    additive_memory_.assign(boundaries_.size(), 0);
    for (std::size_t j = 1; j < boundaries_.size(); ++j) {
      const auto most_after = [&](std::size_t i) {
        return additive_memory_[i] + static_cast<double>(memory(i, j).count - least_memory_.count);
      };
      double most = most_after(0);
      for (std::size_t i = 1; i < j; ++i) most = std::min(most, most_after(i));
      additive_memory_[j] = most;
    }
  }

  Bytes least_memory_;
  Bytes whole_memory_;
  double whole_us_;
  std::vector<Boundary> boundaries_;
  std::vector<Cost> costs_;  // of each pair of boundaries; empty where the formulas hold for all
  std::vector<double> additive_memory_;
};

}  // namespace amp4ec::detail
