// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/layer_graph.hpp>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

namespace amp4ec {

/// What cutting at one place costs, on one unthrottled CPU.
///
/// A cut hides neighbours from the optimiser and forces plain tensor layouts, so its cost is measured, not guessed:
/// `prefix_us` is the time of all layers before the cut built as one segment, `suffix_us` of all layers after it, and
/// so for memory.
struct CutCost {
  double prefix_us = 0;
  double suffix_us = 0;
  bool measured = false;  ///< false: interpolated between measured neighbours; `optimal` does not cut there.
  /// Peaks of workers that run the segments; see `Profile::whole_memory`. Neither falls when its segment grows.
  Bytes prefix_memory{};
  Bytes suffix_memory{};

  bool operator==(const CutCost&) const = default;
};

/// What a segment in the middle of the model costs, built and measured by itself, as `CutCost`.
struct SegmentCost {
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  double us = 0;
  Bytes memory{};

  bool operator==(const SegmentCost&) const = default;
};

/// Which of LibTorch's forms of a segment was the fastest when it was measured, and equal: "plain", "frozen" or
/// "optimized for inference".
struct FoundForm {
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  std::string name;

  bool operator==(const FoundForm&) const = default;
};

/// What it costs that CPUs share caches and memory: the time of the whole model on each of `cpus` CPUs at once, over
/// its time on one while the others have nothing to do.
struct Contention {
  std::size_t cpus = 1;
  double slowdown = 1;  ///< At least 1.

  bool operator==(const Contention&) const = default;
};

/// What each layer costs: the layer graph with measured times and memory. Plain data; can be saved as JSON.
struct Profile {
  LayerGraph graph;
  std::string form;        ///< Execution form that was measured: "plain" or "optimized".
  std::string libtorch;    ///< Version, e.g. "1.13.1".
  std::string cpu;         ///< Processor model name.
  bool estimated = false;  ///< From `estimate_profile`: nothing was measured, and the cuts' costs are guesses too.

  double whole_us = 0;             ///< Median time of the whole model on one thread.
  double spread = 0;               ///< Interquartile range of that time over its median.
  Contention contention;           ///< 1 CPU: not measured, taken for none.
  std::vector<double> layer_us;    ///< whole_us shared out over the layers; same length as graph.layers.
  std::vector<CutCost> cut_costs;  ///< Same length as graph.cuts.
  /// Stages that a planner chose and that were then measured (`Runtime::refine`); these figures count instead of
  /// predictions. Each segment once.
  std::vector<SegmentCost> segments;
  /// Of every segment that was measured and has several. Workers that are told need not search, which takes time and
  /// more memory than they need after it.
  std::vector<FoundForm> found_forms;

  /// Peak of a worker that runs the whole model in the form that was found, from its start. 0: not measured, since no
  /// cgroup counted it; then memory is estimated, from weights and activations.
  Bytes whole_memory;
  Bytes process_memory;   ///< The least that any worker needs.
  Bytes input;            ///< Bytes of the example's tensors.
  Bytes peak_activation;  ///< Largest sum of values alive at once, in one run of the example.

  bool operator==(const Profile&) const = default;
};

/// Predicted time of layers first..last (both included) as one segment on one unthrottled CPU, in microseconds:
/// prefix(last) + suffix(first) - whole, and no less than these layers' share of the whole. A cut can only cost; what
/// noise makes it seem to gain must not lure a planner. Within 1-3 % of the measured time for three-way splits of
/// MobileNetV2 and ResNet-50. The measured time itself where `Profile::segments` has it.
inline double segment_time_us(const Profile& profile, std::size_t first, std::size_t last) {
  const bool from_start = first == 0;
  const bool to_end = last + 1 == profile.graph.layers.size();
  const double before_end = to_end ? profile.whole_us : profile.cut_costs[last].prefix_us;
  const double after_start = from_start ? profile.whole_us : profile.cut_costs[first - 1].suffix_us;
  double time_us = before_end + after_start - profile.whole_us;
  for (const SegmentCost& measured : profile.segments) {
    if (measured.first_layer == first && measured.last_layer == last) time_us = measured.us;
  }
  const auto layers = profile.layer_us.begin();
  const double share =
      std::accumulate(layers + static_cast<std::ptrdiff_t>(first), layers + static_cast<std::ptrdiff_t>(last) + 1, 0.0);
  return std::max(share, time_us);
}

namespace detail {

/// What a worker with no layer at all would need.
inline Bytes least_memory(const Profile& profile) {
  return profile.whole_memory.count > 0 ? profile.process_memory : profile.process_memory + profile.peak_activation;
}

/// The estimate: the process, the largest activations, and weights twice. The form optimised for inference keeps a
/// reordered private copy beside the plain one.
inline Bytes estimated_memory(const Profile& profile, Bytes weights) {
  return profile.process_memory + 2 * weights + profile.peak_activation;
}

inline Bytes weights_of(const Profile& profile, std::size_t first, std::size_t last) {
  Bytes weights;
  for (std::size_t layer = first; layer <= last; ++layer) weights += profile.graph.layers[layer].weights;
  return weights;
}

}  // namespace detail

/// Predicted peak memory of a worker that runs layers first..last: prefix(last) + suffix(first) - whole, and no less
/// than any worker needs. It never falls when a segment grows.
///
/// Weights add up and activations do not, so the sum is right for weights, and for activations it is the least of
/// prefix and suffix: never too little for what lies between. Where `Profile::segments` has a part of the segment, it
/// needs no less than that, and no more than one that it is part of.
inline Bytes segment_memory(const Profile& profile, std::size_t first, std::size_t last) {
  if (profile.whole_memory.count == 0)
    return detail::estimated_memory(profile, detail::weights_of(profile, first, last));
  const bool to_end = last + 1 == profile.graph.layers.size();
  const Bytes before_end = to_end ? profile.whole_memory : profile.cut_costs[last].prefix_memory;
  const Bytes after_start = first == 0 ? profile.whole_memory : profile.cut_costs[first - 1].suffix_memory;
  const Bytes both = before_end + after_start;
  Bytes least = profile.process_memory;
  Bytes most{both.count - std::min(both.count, profile.whole_memory.count)};
  for (const SegmentCost& measured : profile.segments) {
    if (measured.first_layer >= first && measured.last_layer <= last) least = std::max(least, measured.memory);
    if (measured.first_layer <= first && measured.last_layer >= last) most = std::min(most, measured.memory);
  }
  return std::max(least, most);
}

/// Whether the cost of layers first..last as one segment was measured, and is not predicted.
inline bool is_measured(const Profile& profile, std::size_t first, std::size_t last) {
  const bool to_end = last + 1 == profile.graph.layers.size();
  if (first == 0) return to_end || profile.cut_costs[last].measured;
  if (to_end) return profile.cut_costs[first - 1].measured;
  return std::any_of(profile.segments.begin(), profile.segments.end(), [&](const SegmentCost& segment) {
    return segment.first_layer == first && segment.last_layer == last;
  });
}

/// The form that a worker should take for layers first..last: what was found of them or, where they were not measured,
/// of the whole model; empty where that is not known either.
inline std::string found_form(const Profile& profile, std::size_t first, std::size_t last) {
  const auto form_of = [&](std::size_t from, std::size_t to) {
    return std::find_if(profile.found_forms.begin(), profile.found_forms.end(),
                        [=](const FoundForm& found) { return found.first_layer == from && found.last_layer == to; });
  };
  auto found = form_of(first, last);
  if (found == profile.found_forms.end()) found = form_of(0, profile.graph.layers.size() - 1);
  return found == profile.found_forms.end() ? std::string() : found->name;
}

}  // namespace amp4ec
