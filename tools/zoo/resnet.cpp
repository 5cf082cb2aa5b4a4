// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"
#include "models.hpp"

#include <array>

namespace amp4ec::zoo {
namespace {

using torch::jit::Module;

Module relu(ModuleBuilder& builder) {
  return stateless(builder, "torch.nn.modules.activation.ReLU", "torch.relu_(input)");
}

Module downsample(ModuleBuilder& builder, std::int64_t inputs, std::int64_t outputs, std::int64_t stride) {
  const Module projection = convolution(builder, {.inputs = inputs, .outputs = outputs, .stride = stride});
  const Module norm = batch_norm(builder, outputs);
  return sequential(builder, {projection, norm});
}

/// The end of both kinds of block: the shortcut, projected where shapes differ, is added and passed through ReLU.
void finish_block(ModuleBuilder& builder, ModuleParts& parts, std::int64_t inputs, std::int64_t outputs,
                  std::int64_t stride) {
  if (stride != 1 || inputs != outputs) {
    parts.children.emplace_back("downsample", downsample(builder, inputs, outputs, stride));
    parts.source += "  x = self.downsample.forward(x)\n";
  }
  parts.source += "  return self.relu.forward(torch.add_(out, x))\n";
}

Module basic_block(ModuleBuilder& builder, std::int64_t inputs, std::int64_t width, std::int64_t stride) {
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  out = self.relu.forward(self.bn1.forward(self.conv1.forward(x)))\n"
      "  out = self.bn2.forward(self.conv2.forward(out))\n";
  parts.children = {{"conv1", convolution(builder, {inputs, width, 3, stride, 1})},
                    {"bn1", batch_norm(builder, width)},
                    {"relu", relu(builder)},
                    {"conv2", convolution(builder, {width, width, 3, 1, 1})},
                    {"bn2", batch_norm(builder, width)}};
  finish_block(builder, parts, inputs, width, stride);
  return builder.make("torchvision.models.resnet.BasicBlock", std::move(parts));
}

constexpr std::int64_t bottleneck_expansion = 4;

Module bottleneck(ModuleBuilder& builder, std::int64_t inputs, std::int64_t width, std::int64_t stride) {
  const std::int64_t outputs = width * bottleneck_expansion;
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  out = self.relu.forward(self.bn1.forward(self.conv1.forward(x)))\n"
      "  out = self.relu.forward(self.bn2.forward(self.conv2.forward(out)))\n"
      "  out = self.bn3.forward(self.conv3.forward(out))\n";
  parts.children = {{"conv1", convolution(builder, {inputs, width})},
                    {"bn1", batch_norm(builder, width)},
                    {"conv2", convolution(builder, {width, width, 3, stride, 1})},
                    {"bn2", batch_norm(builder, width)},
                    {"conv3", convolution(builder, {width, outputs})},
                    {"bn3", batch_norm(builder, outputs)},
                    {"relu", relu(builder)}};
  finish_block(builder, parts, inputs, outputs, stride);
  return builder.make("torchvision.models.resnet.Bottleneck", std::move(parts));
}

using MakeBlock = Module (*)(ModuleBuilder&, std::int64_t inputs, std::int64_t width, std::int64_t stride);

Module resnet(ModuleBuilder& builder, MakeBlock make_block, std::int64_t expansion, std::array<int, 4> blocks) {
  std::int64_t width = 64;
  std::int64_t channels = width;
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  x = self.maxpool.forward(self.relu.forward(self.bn1.forward(self.conv1.forward(x))))\n";
  parts.children = {{"conv1", convolution(builder, {3, width, 7, 2, 3})},
                    {"bn1", batch_norm(builder, width)},
                    {"relu", relu(builder)},
                    {"maxpool", stateless(builder, "torch.nn.modules.pooling.MaxPool2d",
                                          "torch.max_pool2d(input, [3, 3], [2, 2], [1, 1], [1, 1], False)")}};
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    std::vector<Module> steps;
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::int64_t stride = block == 0 && stage != 0 ? 2 : 1;
      steps.push_back(make_block(builder, channels, width, stride));
      channels = width * expansion;
    }
    const std::string name = "layer" + std::to_string(stage + 1);
    parts.children.emplace_back(name, sequential(builder, steps));
    parts.source += "  x = self." + name + ".forward(x)\n";
    width *= 2;
  }
  ModuleParts pool;
  pool.source =
      "def forward(self, input: Tensor) -> Tensor:\n" + adaptive_average_pool_source("input") + "  return input\n";
  parts.children.emplace_back("avgpool", builder.make("torch.nn.modules.pooling.AdaptiveAvgPool2d", std::move(pool)));
  parts.children.emplace_back("fc", linear(builder, channels, 1000));
  parts.source += "  return self.fc.forward(torch.flatten(self.avgpool.forward(x), 1))\n";
  return builder.make("torchvision.models.resnet.ResNet", std::move(parts));
}

}  // namespace

Module resnet18(ModuleBuilder& builder) {
  return resnet(builder, basic_block, 1, {2, 2, 2, 2});
}

Module resnet50(ModuleBuilder& builder) {
  return resnet(builder, bottleneck, bottleneck_expansion, {3, 4, 6, 3});
}

}  // namespace amp4ec::zoo
