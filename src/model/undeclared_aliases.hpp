// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <vector>

namespace amp4ec::detail {

// What LibTorch's alias analysis does not know: operators that may return an argument itself, or a view of it, although
// their schemas promise a new tensor.

bool returns_argument_undeclared(const torch::jit::Node* node);

/// True when a value comes from such an operator, directly or through views.
bool comes_from_undeclared_alias(const torch::jit::Value* value);

/// Arguments that a node, or a node inside it, writes according to its schema, or although that does not tell.
std::vector<torch::jit::Value*> values_written_by(torch::jit::Node* node);

}  // namespace amp4ec::detail
