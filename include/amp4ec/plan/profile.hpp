// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/layer_graph.hpp>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

namespace amp4ec {

/// What cutting at one place does to time, on one unthrottled CPU.
///
/// A cut hides neighbours from the optimiser and forces plain tensor layouts, so its cost is measured, not guessed:
/// `prefix_us` is the time of all layers before the cut built as one segment, `suffix_us` of all layers after it.
struct CutTime {
  double prefix_us = 0;
  double suffix_us = 0;
  bool measured = false;  ///< false: interpolated between measured neighbours; `optimal` does not cut there.

  bool operator==(const CutTime&) const = default;
};

/// What each layer costs: the layer graph with measured times and memory. Plain data; can be saved as JSON.
struct Profile {
  LayerGraph graph;
  std::string form;      ///< Execution form that was measured: "plain" or "optimized".
  std::string libtorch;  ///< Version, e.g. "1.13.1".
  std::string cpu;       ///< Processor model name.

  double whole_us = 0;             ///< Median time of the whole model on one thread.
  double spread = 0;               ///< Interquartile range of that time over its median.
  std::vector<double> layer_us;    ///< whole_us shared out over the layers; same length as graph.layers.
  std::vector<CutTime> cut_times;  ///< Same length as graph.cuts.

  Bytes process_memory;   ///< A worker with LibTorch loaded and nothing else.
  Bytes input;            ///< Bytes of the example's tensors.
  Bytes peak_activation;  ///< Largest sum of values alive at once, in one run of the example.

  bool operator==(const Profile&) const = default;
};

/// Predicted time of layers first..last (both included) as one segment on one unthrottled CPU, in microseconds:
/// prefix(last) + suffix(first) - whole, and no less than these layers' share of the whole. A cut can only cost; what
/// noise makes it seem to gain must not lure a planner. Within 1-3 % of the measured time for three-way splits of
/// MobileNetV2 and ResNet-50.
inline double segment_time_us(const Profile& profile, std::size_t first, std::size_t last) {
  const bool from_start = first == 0;
  const bool to_end = last + 1 == profile.graph.layers.size();
  const double before_end = to_end ? profile.whole_us : profile.cut_times[last].prefix_us;
  const double after_start = from_start ? profile.whole_us : profile.cut_times[first - 1].suffix_us;
  const auto layers = profile.layer_us.begin();
  const double share =
      std::accumulate(layers + static_cast<std::ptrdiff_t>(first), layers + static_cast<std::ptrdiff_t>(last) + 1, 0.0);
  return std::max(share, before_end + after_start - profile.whole_us);
}

/// Predicted peak memory of a worker that runs layers first..last: the process, its weights twice (the form optimised
/// for inference keeps a reordered private copy beside the plain one), and the largest activations.
inline Bytes segment_memory(const Profile& profile, std::size_t first, std::size_t last) {
  Bytes weights;
  for (std::size_t layer = first; layer <= last; ++layer) weights += profile.graph.layers[layer].weights;
  return profile.process_memory + 2 * weights + profile.peak_activation;
}

}  // namespace amp4ec
