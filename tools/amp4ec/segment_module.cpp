// SPDX-License-Identifier: Apache-2.0
#include "segment_module.hpp"

#include "text.hpp"

#include <fmt/format.h>

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <exception>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

class LoadedModule final : public SegmentExecutor {
 public:
  LoadedModule(torch::jit::Module module, std::size_t outputs) : module_(std::move(module)), outputs_(outputs) {}

  Result<Values> run(const Values& inputs) override try {
    // As the unsplit module it is compared with: the optimiser may choose other operators in each of the two.
    const torch::jit::GraphOptimizerEnabledGuard no_optimizer(false);
    const c10::InferenceMode inference;
    std::vector<c10::IValue> arguments;
    for (const Value& input : inputs) arguments.push_back(input.ivalue());
    c10::IValue output = module_.forward(std::move(arguments));
    Values values;
    if (outputs_ == 1) {
      values.emplace_back(std::move(output));
    } else {
      for (const c10::IValue& element : output.toTupleRef().elements()) values.emplace_back(element);
    }
    return values;
  } catch (const std::exception& exception) {
    return Error{Errc::ExecutionFailed, first_line(exception)};
  }

 private:
  torch::jit::Module module_;
  std::size_t outputs_;
};

}  // namespace

std::size_t input_count(const Segment& segment) {
  return segment.module().get_method("forward").num_inputs() - 1;  // without `self`
}

Result<std::unique_ptr<SegmentExecutor>> load_plainly(const std::filesystem::path& file, std::size_t outputs) try {
  return std::unique_ptr<SegmentExecutor>(
      std::make_unique<LoadedModule>(torch::jit::load(file.string(), at::Device(at::kCPU)), outputs));
} catch (const std::exception& exception) {
  return Error{Errc::ModelCorrupt, fmt::format("LibTorch cannot load '{}': {}", file.string(), first_line(exception))};
}

}  // namespace amp4ec::cli
