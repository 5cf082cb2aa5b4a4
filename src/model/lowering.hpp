// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/plan/layer_graph.hpp>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace amp4ec::detail {

/// Where a value lives in the order of layers.
struct Lifetime {
  std::ptrdiff_t defined = -1;   ///< Layer that defines it; -1 for an input of the model.
  std::ptrdiff_t last_use = -1;  ///< Last layer that reads it; the number of layers when the model returns it.
};

/// A module brought into the form that can be cut: one flat graph whose top-level nodes are the layers.
struct Lowered {
  torch::jit::Module frozen;                 ///< Owns the graph.
  std::shared_ptr<torch::jit::Graph> graph;  ///< Input 0 is `self`.
  std::vector<torch::jit::Node*> layers;     ///< Top-level nodes that are not constants, in execution order.
  std::unordered_map<const torch::jit::Value*, Lifetime> lifetimes;  ///< Every top-level value that is no constant.
  std::vector<std::string> refused;  ///< refused[i]: why no cut after layer i; empty when it is valid.
};

/// Freezes, inlines, removes mutation. The given module is not changed. @error ModelRejected.
Result<Lowered> lower(const torch::jit::Module& module);

/// Values that cross the cut before layer `position` (0: all inputs of the model), in order of definition.
std::vector<torch::jit::Value*> crossing_values(const Lowered& lowered, std::size_t position);

/// The layer that a node inside it belongs to; a top-level node itself.
const torch::jit::Node* top_level_owner(const torch::jit::Node* node);

/// Path of the module that a node came from, "features.3.conv.0", or "" when it is not known.
std::string module_path(torch::jit::Node* node);

/// First line of an exception of LibTorch: the rest is a stack trace.
std::string first_line(const std::exception& exception);

/// True for values that may cross between processes: tensors, numbers, strings, None, and containers of them.
bool is_transferable(const c10::TypePtr& type);

}  // namespace amp4ec::detail
