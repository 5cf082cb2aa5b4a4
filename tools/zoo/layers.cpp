// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

namespace amp4ec::zoo {

torch::jit::Module convolution(ModuleBuilder& builder, const ConvolutionShape& shape) {
  const double fan_out =
      static_cast<double>(shape.outputs * shape.kernel * shape.kernel) / static_cast<double>(shape.groups);
  ModuleParts parts;
  parts.source = fmt::format(
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return torch.conv2d(input, self.weight, None, [{0}, {0}], [{1}, {1}], [1, 1], {2})\n",
      shape.stride, shape.padding, shape.groups);
  parts.parameters = {
      {"weight", builder.normal({shape.outputs, shape.inputs / shape.groups, shape.kernel, shape.kernel},
                                std::sqrt(2 / fan_out))}};
  return builder.make("torch.nn.modules.conv.Conv2d", std::move(parts));
}

torch::jit::Module batch_norm(ModuleBuilder& builder, std::int64_t channels) {
  ModuleParts parts;
  parts.source = fmt::format(
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return torch.batch_norm(input, self.weight, self.bias, self.running_mean, self.running_var, self.training, "
      "{}, 1e-05, True)\n",
      batch_norm_momentum);
  parts.parameters = {{"weight", builder.uniform({channels}, 0.8, 1.2)}, {"bias", builder.normal({channels}, 0.1)}};
  parts.buffers = {{"running_mean", at::zeros({channels}, at::kFloat)},
                   {"running_var", at::ones({channels}, at::kFloat)},
                   {"num_batches_tracked", at::zeros({}, at::kLong)}};
  return builder.make("torch.nn.modules.batchnorm.BatchNorm2d", std::move(parts));
}

torch::jit::Module linear(ModuleBuilder& builder, std::int64_t inputs, std::int64_t outputs, double gain) {
  ModuleParts parts;
  parts.source =
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return torch.linear(input, self.weight, self.bias)\n";
  parts.parameters = {{"weight", builder.normal({outputs, inputs}, gain / std::sqrt(static_cast<double>(inputs)))},
                      {"bias", builder.normal({outputs}, 0.02)}};
  return builder.make("torch.nn.modules.linear.Linear", std::move(parts));
}

torch::jit::Module stateless(ModuleBuilder& builder, const std::string& class_name, const std::string& body) {
  ModuleParts parts;
  parts.source = fmt::format(
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return {}\n",
      body);
  return builder.make(class_name, std::move(parts));
}

torch::jit::Module sequential(ModuleBuilder& builder, const std::vector<torch::jit::Module>& children,
                              const std::string& class_name) {
  ModuleParts parts;
  parts.source = "def forward(self, input: Tensor) -> Tensor:\n";
  for (const torch::jit::Module& child : children) {
    const std::string name = std::to_string(parts.children.size());
    parts.source += fmt::format("  input = getattr(self, \"{}\").forward(input)\n", name);
    parts.children.emplace_back(name, child);
  }
  parts.source += "  return input\n";
  return builder.make(class_name, std::move(parts));
}

std::string adaptive_average_pool_source(const std::string& x) {
  return fmt::format(
      "  assert len({0}.size()) > 2\n"
      "  {0} = torch.adaptive_avg_pool2d({0}, [1, 1])\n",
      x);
}

}  // namespace amp4ec::zoo
