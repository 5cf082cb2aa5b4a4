// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace amp4ec::detail
