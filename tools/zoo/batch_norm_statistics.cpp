// SPDX-License-Identifier: Apache-2.0
#include "batch_norm_statistics.hpp"

#include "layers.hpp"

#include <ATen/ATen.h>

namespace amp4ec::zoo {
namespace {

std::vector<torch::jit::Module> batch_norms(const torch::jit::Module& model) {
  std::vector<torch::jit::Module> found;
  for (const torch::jit::Module& module : model.modules()) {
    if (module.hasattr("running_mean")) found.push_back(module);
  }
  return found;
}

/// Keeps the first 12 or so bits of the mantissa.
at::Tensor rounded(const at::Tensor& measured) {
  const auto [mantissa, exponent] = at::frexp(measured);
  return at::ldexp((mantissa * 0x1p12).round_() * 0x1p-12, exponent).to(at::kFloat);
}

}  // namespace

void measure_batch_norm_statistics(const torch::jit::Module& model, ModuleBuilder& builder) {
  const auto targets = batch_norms(model);
  if (targets.empty()) return;

  // The order in which a sum is taken depends on the number of threads and on the processor, the weights must not:
  // so measure in double precision and round. The clone keeps the pass out of the model's executor and flags.
  torch::jit::Module pass = model.clone();
  pass.to(at::kDouble);
  const auto sources = batch_norms(pass);
  for (torch::jit::Module source : sources) {
    source.setattr("training", true);  // only here: a dropout would draw from the global generator
    source.attr("running_mean").toTensor().zero_();
    source.attr("running_var").toTensor().zero_();
  }
  constexpr int images = 4;
  pass.get_method("forward")({builder.normal({images, 3, 224, 224}, 1).to(at::kDouble)});

  for (std::size_t i = 0; i < targets.size(); ++i) {
    for (const char* statistic : {"running_mean", "running_var"}) {
      // Training made it (1 - momentum) * 0 + momentum * measured.
      const at::Tensor measured = sources[i].attr(statistic).toTensor() / batch_norm_momentum;
      targets[i].attr(statistic).toTensor().copy_(rounded(measured));
    }
  }
}

}  // namespace amp4ec::zoo
