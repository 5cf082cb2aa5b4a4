// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

namespace amp4ec::detail {

/// Calls `visit(node)` for each node of a block, and of the blocks inside it.
template <class Visit>
void for_each_node(torch::jit::Block& block, const Visit& visit) {
  for (torch::jit::Node* node : block.nodes()) {
    visit(node);
    for (torch::jit::Block* inner : node->blocks()) for_each_node(*inner, visit);
  }
}

/// The same for a node and the blocks inside it.
template <class Visit>
void for_each_node_of(torch::jit::Node* node, const Visit& visit) {
  visit(node);
  for (torch::jit::Block* block : node->blocks()) for_each_node(*block, visit);
}

/// Calls `visit(value)` for each constant that a node, or one inside it, reads; for every reading of it.
template <class Visit>
void for_each_constant_read(torch::jit::Node* node, const Visit& visit) {
  for_each_node_of(node, [&](torch::jit::Node* reader) {
    for (const torch::jit::Value* input : reader->inputs()) {
      if (input->node()->kind() != c10::prim::Constant) continue;
      if (const auto value = torch::jit::toIValue(input)) visit(*value);
    }
  });
}

}  // namespace amp4ec::detail
