// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_builder.hpp"

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <string>
#include <vector>

/// The layers that several reference models share: torch.nn's classes, with its parameter names and its operators.
namespace amp4ec::zoo {

/// Share of a new batch in the running statistics of a batch norm, torch.nn's default.
constexpr double batch_norm_momentum = 0.1;

/// Geometry of a square convolution without dilation.
struct ConvolutionShape {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t groups = 1;
};

/// Kaiming-normal weights over the outputs of one group (He et al. 2015, eq. 14); no bias.
torch::jit::Module convolution(ModuleBuilder& builder, const ConvolutionShape& shape);

/// Weights near 1, small biases; the running statistics are still to be measured.
torch::jit::Module batch_norm(ModuleBuilder& builder, std::int64_t channels);

/// Normal weights with deviation gain / sqrt(inputs), small biases. Input of scale 1 gives output of scale `gain`.
torch::jit::Module linear(ModuleBuilder& builder, std::int64_t inputs, std::int64_t outputs, double gain = 1);

/// A module without parts. @param body the expression that `forward` returns; its argument is called `input`.
torch::jit::Module stateless(ModuleBuilder& builder, const std::string& class_name, const std::string& body);

/// Children named "0", "1", ... that run one after another.
torch::jit::Module sequential(ModuleBuilder& builder, const std::vector<torch::jit::Module>& children,
                              const std::string& class_name = "torch.nn.modules.container.Sequential");

/// Statements that average `x` over its image plane, preceded by the check of its rank that torch.nn.functional makes.
std::string adaptive_average_pool_source(const std::string& x);

}  // namespace amp4ec::zoo
