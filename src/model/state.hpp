// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <string>
#include <vector>

namespace amp4ec::detail {

/// Attributes that stay attributes, since the module writes them while it runs: its state.
///
/// Gathers them, from whatever submodule they sit in, into one module without submodules, and makes the graph read and
/// write them there: a segment then takes along just those that its layers touch. Attributes that nothing writes
/// become constants. Submodules that are more than a place for attributes (an interface whose method is called) are
/// moved whole. Throws when the module hands itself to an operator.
torch::jit::Module gather_state(const torch::jit::Module& module, const std::shared_ptr<torch::jit::Graph>& graph);

/// Names of the attributes of `self` that a node, or a block inside it, reads or writes.
std::vector<std::string> attributes_touched(const torch::jit::Node* node, const torch::jit::Value* self);

/// Groups of attributes that share memory, every attribute in one group: they cannot be kept in two places.
std::vector<std::vector<std::string>> groups_that_share(const torch::jit::Module& state);

}  // namespace amp4ec::detail
