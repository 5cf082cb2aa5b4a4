// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/model.hpp>

#include <torch/csrc/jit/serialization/import_source.h>
#include <torch/script.h>

#include <memory>
#include <string>
#include <vector>

namespace amp4ec::test {

/// A module with one method, written in TorchScript.
inline torch::jit::Module module_from(const std::string& source) {
  torch::jit::Module module("TestModule");
  module.define(source);
  return module;
}

/// A module of class `__torch__.M`, from classes as an archive holds them: the way to context managers, named tuples
/// and forks, which Module::define does not know.
inline torch::jit::Module module_from_classes(const std::string& source) {
  static const std::vector<c10::IValue> no_constants;
  const auto text = std::make_shared<torch::jit::Source>(source, "classes", 1);
  auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::SourceImporter importer(
      unit, &no_constants, [&](const std::string&) { return text; }, 2);
  const auto type = importer.loadType(c10::QualifiedName("__torch__.M"));
  return torch::jit::Module(unit, type->expect<c10::ClassType>());
}

/// Different inputs of one shape, the same in every run.
inline std::vector<Values> random_inputs(const std::vector<std::int64_t>& shape, std::size_t count) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(17);
  std::vector<Values> inputs;
  for (std::size_t i = 0; i < count; ++i) inputs.push_back({at::randn(shape, generator, at::TensorOptions())});
  return inputs;
}

}  // namespace amp4ec::test
