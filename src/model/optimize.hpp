// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/api/module.h>

namespace amp4ec::detail {

// Both take a module whose weights are constants, and change its graph.

/// LibTorch's optimize_frozen_module: batch norms and other arithmetic folded into the weights beside them, linear
/// layers with a common input joined.
torch::jit::Module optimize_frozen(torch::jit::Module module);

/// The same and LibTorch's optimize_for_inference, with what it gets wrong put right: oneDNN's layouts inside.
torch::jit::Module optimize_for_inference(torch::jit::Module module);

}  // namespace amp4ec::detail
