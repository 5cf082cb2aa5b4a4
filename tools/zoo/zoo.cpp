// SPDX-License-Identifier: Apache-2.0
#include "zoo.hpp"

#include "atomic_file.hpp"
#include "batch_norm_statistics.hpp"
#include "models.hpp"
#include "module_builder.hpp"

#include <torch/csrc/jit/serialization/export.h>

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <exception>
#include <optional>

namespace amp4ec {
namespace {

using zoo::ModuleBuilder;

struct Recipe {
  const char* name;
  const char* description;
  const char* input;
  torch::jit::Module (*build)(ModuleBuilder&);
};

constexpr Recipe recipes[] = {
    {"mobilenet_v2", "MobileNetV2, as torchvision's; 3.5 M parameters", "1x3x224x224", zoo::mobilenet_v2},
    {"resnet18", "ResNet-18, as torchvision's; 11.7 M parameters", "1x3x224x224", zoo::resnet18},
    {"resnet50", "ResNet-50, as torchvision's; 25.6 M parameters", "1x3x224x224", zoo::resnet50},
    {"vit_tiny", "Vision transformer: patch 16, width 192, 12 blocks, 3 heads; 5.7 M parameters", "1x3x224x224",
     zoo::vit_tiny},
    {"lstm", "Two LSTM layers of width 128 over 32 steps of 64 features, and a linear head; 0.2 M parameters",
     "1x32x64", zoo::lstm},
};

Error unknown_name(std::string_view name) {
  std::string known;
  for (const Recipe& recipe : recipes) known += fmt::format("{}{}", known.empty() ? "" : ", ", recipe.name);
  return Error{Errc::InvalidArgument, fmt::format("no reference model is called '{}'; known are {}", name, known)};
}

torch::jit::Module build(const Recipe& recipe, std::uint64_t seed) {
  const c10::InferenceMode no_inference_mode(false);  // a caller's inference tensors could not be parameters
  const at::NoGradGuard no_grad;
  ModuleBuilder builder(seed);
  torch::jit::Module model = recipe.build(builder);
  zoo::measure_batch_norm_statistics(model, builder);
  return model;
}

Error refused(std::string_view action, std::string_view name, const std::exception& exception) {
  return Error{Errc::Internal, fmt::format("LibTorch cannot {} '{}': {}", action, name, exception.what())};
}

}  // namespace

const std::vector<ZooEntry>& zoo_entries() {
  static const std::vector<ZooEntry> entries = [] {
    std::vector<ZooEntry> list;
    for (const Recipe& recipe : recipes) list.push_back({recipe.name, recipe.description, {recipe.input}});
    return list;
  }();
  return entries;
}

Result<torch::jit::Module> make_zoo_model(std::string_view name, std::uint64_t seed) {
  for (const Recipe& recipe : recipes) {
    if (recipe.name != name) continue;
    try {
      return build(recipe, seed);
    } catch (const std::exception& exception) {
      return refused("build", name, exception);
    }
  }
  return unknown_name(name);
}

Result<void> save_zoo_model(std::string_view name, std::uint64_t seed, const std::filesystem::path& file) {
  const auto model = make_zoo_model(name, seed);
  if (!model) return model.error();
  auto output = zoo::AtomicFile::open(file);
  if (!output) return output.error();
  try {
    // LibTorch's writer throws from its destructor, and so ends the process, when it is told that a write failed.
    // AtomicFile therefore remembers the failure, and every write is reported as done.
    torch::jit::ExportModule(*model, [&](const void* data, std::size_t size) {
      output->write(data, size);
      return size;
    });
  } catch (const std::exception& exception) {
    return refused("save", name, exception);
  }
  return output->commit();
}

}  // namespace amp4ec
