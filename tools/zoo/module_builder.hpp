// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <ATen/core/Generator.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace amp4ec::zoo {

/// What a TorchScript module is made of: the source of its `forward` method and its named parts, in registration order.
struct ModuleParts {
  std::string source;
  std::vector<std::pair<std::string, at::Tensor>> parameters = {};
  std::vector<std::pair<std::string, at::Tensor>> buffers = {};
  std::vector<std::pair<std::string, torch::jit::Module>> children = {};
};

/// Makes the modules of one model, and the random numbers in them.
///
/// Modules with the same class name, source and kinds of parts share one type, as those that Python scripts do.
/// Errors are LibTorch's exceptions. Not thread-safe.
class ModuleBuilder {
 public:
  explicit ModuleBuilder(std::uint64_t seed);

  /// A module in evaluation mode. @param class_name as Python has it, e.g. "torch.nn.modules.conv.Conv2d".
  torch::jit::Module make(const std::string& class_name, ModuleParts parts);

  /// Normal numbers with mean 0.
  at::Tensor normal(at::IntArrayRef shape, double deviation);

  /// Equally likely numbers between two bounds.
  at::Tensor uniform(at::IntArrayRef shape, double low, double high);

 private:
  std::shared_ptr<torch::jit::CompilationUnit> unit_ = std::make_shared<torch::jit::CompilationUnit>();
  std::unordered_map<std::string, c10::ClassTypePtr> types_;
  at::Generator generator_;
};

}  // namespace amp4ec::zoo
