// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/profile.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace amp4ec::detail {

/// The places where an exact plan may cut, those valid, measured and not forbidden, and the cost of what lies between
/// them in constant time. Boundary 0 is the start of the model, `end()` its end.
class Segments {
 public:
  explicit Segments(const Profile& profile, std::span<const std::size_t> forbidden_cuts = {})
      : fixed_memory_(profile.process_memory + profile.peak_activation), whole_us_(profile.whole_us) {
    const LayerGraph& graph = profile.graph;
    std::vector<bool> forbidden(graph.cuts.size(), false);
    for (const std::size_t cut : forbidden_cuts) forbidden[cut] = true;
    add(0, whole_us_, whole_us_, Bytes{});
    Bytes weights;
    double share_us = 0;
    for (std::size_t i = 0; i < graph.layers.size(); ++i) {
      weights += graph.layers[i].weights;
      share_us += profile.layer_us[i];
      const bool last = i + 1 == graph.layers.size();
      if (!last && !(graph.cuts[i].valid && profile.cut_times[i].measured && !forbidden[i])) continue;
      add(i + 1, last ? whole_us_ : profile.cut_times[i].prefix_us, last ? 0 : profile.cut_times[i].suffix_us,
          last ? Bytes{} : graph.cuts[i].crossing);
      weights_.back() = weights;
      share_us_.back() = share_us;
    }
  }

  [[nodiscard]] std::size_t end() const noexcept { return first_layer_.size() - 1; }
  [[nodiscard]] std::size_t first_layer(std::size_t boundary) const { return first_layer_[boundary]; }
  [[nodiscard]] std::size_t last_layer(std::size_t boundary) const { return first_layer_[boundary] - 1; }
  [[nodiscard]] Bytes crossing(std::size_t boundary) const { return crossing_[boundary]; }

  /// `segment_time_us` and `segment_memory` of the layers from boundary i to boundary j. Memory never falls when a
  /// segment grows; time may, because every cut has a cost of its own.
  [[nodiscard]] double time_us(std::size_t i, std::size_t j) const {
    return std::max(share_us_[j] - share_us_[i], prefix_us_[j] + suffix_us_[i] - whole_us_);
  }
  [[nodiscard]] Bytes memory(std::size_t i, std::size_t j) const {
    return fixed_memory_ + Bytes{2 * (weights_[j].count - weights_[i].count)};
  }

  /// The part of `time_us` that never falls when a segment grows: the layers' shares of the whole, summed from 0 to j.
  [[nodiscard]] double share_us(std::size_t j) const { return share_us_[j]; }
  /// Memory that the layers before boundary j need in a worker, beside what every worker needs (`memory(j, j)`).
  [[nodiscard]] double weights(std::size_t j) const { return 2 * static_cast<double>(weights_[j].count); }

 private:
  void add(std::size_t first_layer, double prefix_us, double suffix_us, Bytes crossing) {
    first_layer_.push_back(first_layer);
    prefix_us_.push_back(prefix_us);
    suffix_us_.push_back(suffix_us);
    crossing_.push_back(crossing);
    weights_.emplace_back();
    share_us_.push_back(0);
  }

  Bytes fixed_memory_;
  double whole_us_;
  std::vector<std::size_t> first_layer_;
  std::vector<double> prefix_us_;
  std::vector<double> suffix_us_;
  std::vector<Bytes> crossing_;
  std::vector<Bytes> weights_;    // of all layers before the boundary
  std::vector<double> share_us_;  // of the whole's time: all layers before the boundary
};

}  // namespace amp4ec::detail
