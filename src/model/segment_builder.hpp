// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

#include <memory>

namespace amp4ec::detail {

/// Layers first..last as a graph of their own: inputs are the values that cross the cut before it, outputs those that
/// cross the cut after it. Input 0 is `self`; constants are cloned in.
std::shared_ptr<torch::jit::Graph> build_segment_graph(const Lowered& lowered, std::size_t first, std::size_t last);

/// A few layers as a graph, for running them one after the other: inputs are `self` and what they read of earlier
/// layers (returned in `reads`), outputs everything that they define.
std::shared_ptr<torch::jit::Graph> build_step_graph(const Lowered& lowered, std::size_t first, std::size_t last,
                                                    std::vector<torch::jit::Value*>& reads);

/// Wraps a graph into a module whose `forward` saves, loads and type-checks anywhere. It has those attributes of
/// `state` that the graph touches, and the default values of the arguments of `signature`, `self` included, if any.
torch::jit::Module wrap_as_module(std::shared_ptr<torch::jit::Graph> graph, const torch::jit::Module& state,
                                  const std::vector<c10::Argument>& signature);

}  // namespace amp4ec::detail
