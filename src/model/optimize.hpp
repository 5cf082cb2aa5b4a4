// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/api/module.h>

namespace amp4ec::detail {

/// LibTorch's optimize_for_inference on a module whose weights are constants: batch norms folded, oneDNN's layouts
/// inside. With what it gets wrong put right. Changes the module's graph.
torch::jit::Module optimize(torch::jit::Module module);

}  // namespace amp4ec::detail
