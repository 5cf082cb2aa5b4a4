// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

#include <amp4ec/model/value.hpp>
#include <amp4ec/plan/layer_graph.hpp>

#include <vector>

namespace amp4ec::detail {

/// Leaf modules of the module as its author wrote it, with AMP4EC's cost; first_layer is left at 0.
std::vector<LeafModule> leaf_modules(const torch::jit::Module& module, const Lowered& lowered);

/// True when a node, or one inside it, answers otherwise each time. Dropout that is switched off does not.
bool draws_random_numbers(const torch::jit::Node* node);

/// Runs the example layer by layer and records sizes. `model_hash` is left empty. @error InputMismatch.
Result<LayerGraph> build_layer_graph_data(const Lowered& lowered, std::vector<LeafModule> leaves,
                                          const Values& example);

}  // namespace amp4ec::detail
