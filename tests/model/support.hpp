// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/model.hpp>

#include <torch/script.h>

#include <string>
#include <vector>

namespace amp4ec::test {

/// A module with one method, written in TorchScript.
inline torch::jit::Module module_from(const std::string& source) {
  torch::jit::Module module("TestModule");
  module.define(source);
  return module;
}

/// Different inputs of one shape, the same in every run.
inline std::vector<Values> random_inputs(const std::vector<std::int64_t>& shape, std::size_t count) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(17);
  std::vector<Values> inputs;
  for (std::size_t i = 0; i < count; ++i) inputs.push_back({at::randn(shape, generator, at::TensorOptions())});
  return inputs;
}

}  // namespace amp4ec::test
