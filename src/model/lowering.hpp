// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace amp4ec::detail {

/// A value and where it lives in the order of layers.
struct LiveRange {
  torch::jit::Value* value = nullptr;
  std::ptrdiff_t defined = -1;   ///< Layer that defines it; -1 for an input of the model.
  std::ptrdiff_t last_use = -1;  ///< Last layer that reads it; the number of layers when the model returns it.
};

/// A module brought into the form that can be cut: one flat graph whose top-level nodes are the layers.
struct Lowered {
  torch::jit::Module state;                  ///< What the model writes from call to call; `self` of the graph.
  std::shared_ptr<torch::jit::Graph> graph;  ///< Input 0 is `self`.
  std::vector<torch::jit::Node*> layers;     ///< Top-level nodes that are not constants, in execution order.
  std::vector<LiveRange> ranges;             ///< Of every top-level value that is no constant, in order of definition.
  std::unordered_map<const torch::jit::Value*, std::size_t> range_of;  ///< Index into `ranges`.
  std::vector<std::string> refused;  ///< refused[i]: why no cut after layer i; empty when it is valid.

  [[nodiscard]] const LiveRange& range(const torch::jit::Value* value) const { return ranges[range_of.at(value)]; }
};

/// Freezes, inlines, removes mutation. The given module, in evaluation mode, is not changed; the result shares its
/// weights.
/// @error ModelRejected.
Result<Lowered> lower(const torch::jit::Module& module);

/// Values that cross the cut before layer `position` (0: all inputs of the model), in order of definition.
std::vector<torch::jit::Value*> crossing_values(const Lowered& lowered, std::size_t position);

/// Top-level values that are no constants and that a node, or a block inside it, reads; `self` left out, each once.
std::vector<torch::jit::Value*> values_read(const Lowered& lowered, torch::jit::Node* node);

/// The layer that a node inside it belongs to; a top-level node itself.
const torch::jit::Node* top_level_owner(const torch::jit::Node* node);

/// Path of the module that a node came from, "features.3.conv.0", or "" when it is not known.
std::string module_path(torch::jit::Node* node);

/// First line of an exception of LibTorch, the rest is a stack trace: at most 500 printable characters.
std::string first_line(const std::exception& exception);

/// What LibTorch threw, as an error: OutOfMemory where it got no memory, which its allocator says in words only.
Error failure(const std::exception& exception, Errc otherwise, std::string_view before = "");

}  // namespace amp4ec::detail
