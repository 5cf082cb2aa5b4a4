// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_builder.hpp"

#include <torch/csrc/jit/api/module.h>

namespace amp4ec::zoo {

/// Sets the running mean and variance of every batch norm below `model` to those of its own input, measured on one
/// batch of random images. Without batch norm it does nothing. Call it without gradients; errors are LibTorch's
/// exceptions.
void measure_batch_norm_statistics(const torch::jit::Module& model, ModuleBuilder& builder);

}  // namespace amp4ec::zoo
