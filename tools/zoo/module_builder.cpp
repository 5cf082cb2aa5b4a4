// SPDX-License-Identifier: Apache-2.0
#include "module_builder.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace amp4ec::zoo {
namespace {

std::string type_key(const std::string& class_name, const ModuleParts& parts) {
  std::string key = class_name + '\n' + parts.source;
  for (const auto& [name, tensor] : parts.parameters) key += "\nparameter " + name;
  for (const auto& [name, tensor] : parts.buffers) key += "\nbuffer " + name;
  for (const auto& [name, child] : parts.children) key += "\n" + name + ": " + child.type()->name()->qualifiedName();
  return key;
}

}  // namespace

ModuleBuilder::ModuleBuilder(std::uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}

torch::jit::Module ModuleBuilder::make(const std::string& class_name, ModuleParts parts) {
  c10::ClassTypePtr& type = types_[type_key(class_name, parts)];
  const bool is_new = type == nullptr;
  torch::jit::Module module = is_new ? torch::jit::Module("__torch__." + class_name, unit_, /*shouldMangle=*/true)
                                     : torch::jit::Module(unit_, type);
  for (auto& [name, tensor] : parts.parameters) {
    module.register_parameter(name, tensor.set_requires_grad(true), /*is_buffer=*/false);
  }
  for (auto& [name, tensor] : parts.buffers) module.register_buffer(name, tensor);
  module.register_attribute("training", c10::BoolType::get(), false);
  for (auto& [name, child] : parts.children) module.register_module(name, child);
  if (is_new) {
    module.define(parts.source);
    type = module.type();
  }
  return module;
}

at::Tensor ModuleBuilder::normal(at::IntArrayRef shape, double deviation) {
  return at::empty(shape, at::kFloat).normal_(0, deviation, generator_);
}

at::Tensor ModuleBuilder::uniform(at::IntArrayRef shape, double low, double high) {
  return at::empty(shape, at::kFloat).uniform_(low, high, generator_);
}

}  // namespace amp4ec::zoo
