// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_builder.hpp"

#include <torch/csrc/jit/api/module.h>

/// One function a reference model. Batch-norm statistics are still to be measured; errors are LibTorch's exceptions.
namespace amp4ec::zoo {

/// Sandler et al. 2018, width 1.0, with torchvision's module names and operators.
torch::jit::Module mobilenet_v2(ModuleBuilder& builder);

/// He et al. 2016 with torchvision's module names and operators (the stride sits on the 3x3 convolution).
torch::jit::Module resnet18(ModuleBuilder& builder);
torch::jit::Module resnet50(ModuleBuilder& builder);

/// Dosovitskiy et al. 2021 at the size of DeiT-Ti (Touvron et al. 2021), with timm's module names. Attention is written
/// out in matmul and softmax, so that it can be cut.
torch::jit::Module vit_tiny(ModuleBuilder& builder);

/// Two LSTM layers, each a module of its own with one `aten::lstm`, and a linear head over the last step.
torch::jit::Module lstm(ModuleBuilder& builder);

}  // namespace amp4ec::zoo
