// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"
#include "models.hpp"

namespace amp4ec::zoo {
namespace {

using torch::jit::Module;

Module convolution_norm_activation(ModuleBuilder& builder, const ConvolutionShape& shape) {
  const Module first = convolution(builder, shape);
  const Module second = batch_norm(builder, shape.outputs);
  const Module third = stateless(builder, "torch.nn.modules.activation.ReLU6", "torch.hardtanh_(input, 0., 6.)");
  return sequential(builder, {first, second, third}, "torchvision.ops.misc.Conv2dNormActivation");
}

/// Expands the channels, filters each by itself, projects back; with a shortcut where the shape stays the same.
Module inverted_residual(ModuleBuilder& builder, std::int64_t inputs, std::int64_t outputs, std::int64_t stride,
                         std::int64_t expansion) {
  const std::int64_t hidden = inputs * expansion;
  std::vector<Module> steps;
  if (expansion != 1) steps.push_back(convolution_norm_activation(builder, {inputs, hidden}));
  steps.push_back(convolution_norm_activation(
      builder, {.inputs = hidden, .outputs = hidden, .kernel = 3, .stride = stride, .padding = 1, .groups = hidden}));
  steps.push_back(convolution(builder, {hidden, outputs}));
  steps.push_back(batch_norm(builder, outputs));

  ModuleParts parts;
  parts.source = stride == 1 && inputs == outputs ? "def forward(self, x: Tensor) -> Tensor:\n"
                                                    "  return torch.add(x, self.conv.forward(x))\n"
                                                  : "def forward(self, x: Tensor) -> Tensor:\n"
                                                    "  return self.conv.forward(x)\n";
  parts.children = {{"conv", sequential(builder, steps)}};
  return builder.make("torchvision.models.mobilenetv2.InvertedResidual", std::move(parts));
}

}  // namespace

Module mobilenet_v2(ModuleBuilder& builder) {
  struct Stage {  // table 2 of the paper: t, c, n, s
    std::int64_t expansion;
    std::int64_t channels;
    int blocks;
    std::int64_t first_stride;
  };
  constexpr Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                              {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  constexpr std::int64_t last_channels = 1280;

  std::int64_t channels = 32;
  std::vector<Module> features;
  features.push_back(
      convolution_norm_activation(builder, {.inputs = 3, .outputs = channels, .kernel = 3, .stride = 2, .padding = 1}));
  for (const Stage& stage : stages) {
    for (int block = 0; block < stage.blocks; ++block) {
      const std::int64_t stride = block == 0 ? stage.first_stride : 1;
      features.push_back(inverted_residual(builder, channels, stage.channels, stride, stage.expansion));
      channels = stage.channels;
    }
  }
  features.push_back(convolution_norm_activation(builder, {channels, last_channels}));

  const Module dropout =
      stateless(builder, "torch.nn.modules.dropout.Dropout", "torch.dropout(input, 0.2, self.training)");
  const Module head = linear(builder, last_channels, 1000);
  ModuleParts parts;
  parts.source = "def forward(self, x: Tensor) -> Tensor:\n  x = self.features.forward(x)\n" +
                 adaptive_average_pool_source("x") + "  return self.classifier.forward(torch.flatten(x, 1))\n";
  parts.children = {{"features", sequential(builder, features)}, {"classifier", sequential(builder, {dropout, head})}};
  return builder.make("torchvision.models.mobilenetv2.MobileNetV2", std::move(parts));
}

}  // namespace amp4ec::zoo
