// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/profile.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace amp4ec {

/// A guess at what a layer takes on one unthrottled CPU, in microseconds: arithmetic at some 30 GFLOP/s, memory at some
/// 10 GB/s, and something for being called at all.
inline double estimated_layer_us(const Layer& layer) noexcept {
  return 1 + layer.flops / 30e3 + static_cast<double>(layer.output.count + layer.weights.count) / 10e3;
}

/// Largest sum of values alive at once, the model's inputs not counted.
inline Bytes peak_activation(const LayerGraph& graph) {
  Bytes peak;
  for (std::size_t layer = 0; layer < graph.layers.size(); ++layer) {
    const Bytes alive = layer == 0 ? Bytes{} : graph.cuts[layer - 1].crossing;
    peak = std::max(peak, alive + graph.layers[layer].output);
  }
  return peak;
}

/// A profile of a model that cannot be measured here and now, e.g. for another processor: times from operations and
/// bytes (`estimated_layer_us`), memory from weights and activations. Every valid cut may be used and costs nothing.
/// Good for shares rather than for times: on the machine of docs/planning.md the reference models take between a
/// quarter and 1.3 times of what it says. Plans made from it say so (`Prediction::estimated`).
inline Profile estimate_profile(LayerGraph graph) {
  // What a worker has of its own before it loads anything, seen with LibTorch 1.13: 3 to 5 MB.
  constexpr Bytes process{8U << 20U};
  Profile profile;
  profile.form = "estimated";
  profile.estimated = true;
  profile.process_memory = process;
  profile.peak_activation = peak_activation(graph);
  for (const Layer& layer : graph.layers) {
    profile.layer_us.push_back(estimated_layer_us(layer));
    profile.whole_us += profile.layer_us.back();
  }
  double before_us = 0;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    before_us += profile.layer_us[cut];
    profile.cut_costs.push_back({before_us, profile.whole_us - before_us, true});
  }
  profile.graph = std::move(graph);
  return profile;
}

}  // namespace amp4ec
