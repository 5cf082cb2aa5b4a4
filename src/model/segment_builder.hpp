// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

#include <memory>

namespace amp4ec::detail {

/// Layers first..last as a graph of their own: inputs are the values that cross the cut before it, outputs those that
/// cross the cut after it. Without `self`; constants are cloned in.
std::shared_ptr<torch::jit::Graph> build_segment_graph(const Lowered& lowered, std::size_t first, std::size_t last);

/// One layer as a graph: inputs are the values that it reads (returned in `reads`), outputs those that it defines.
std::shared_ptr<torch::jit::Graph> build_layer_graph(const Lowered& lowered, std::size_t layer,
                                                     std::vector<torch::jit::Value*>& reads);

/// Wraps a graph without `self` into a module whose `forward` saves, loads and type-checks anywhere.
torch::jit::Module wrap_as_module(std::shared_ptr<torch::jit::Graph> graph, const std::string& name);

}  // namespace amp4ec::detail
