// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"
#include "models.hpp"

#include <ATen/ATen.h>

#include <cmath>

namespace amp4ec::zoo {
namespace {

using torch::jit::Module;

constexpr std::int64_t width = 192;
constexpr std::int64_t patch = 16;
constexpr std::int64_t patches = (224 / patch) * (224 / patch);
constexpr std::int64_t hidden = 4 * width;
constexpr int depth = 12;

Module layer_norm(ModuleBuilder& builder) {
  ModuleParts parts;
  parts.source =
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return torch.layer_norm(input, [192], self.weight, self.bias, 1e-06, True)\n";
  parts.parameters = {{"weight", builder.uniform({width}, 0.8, 1.2)}, {"bias", builder.normal({width}, 0.1)}};
  return builder.make("torch.nn.modules.normalization.LayerNorm", std::move(parts));
}

Module patch_embedding(ModuleBuilder& builder) {
  ModuleParts convolution;
  convolution.source =
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  return torch.conv2d(input, self.weight, self.bias, [16, 16], [0, 0], [1, 1], 1)\n";
  convolution.parameters = {{"weight", builder.normal({width, 3, patch, patch}, 1 / std::sqrt(3.0 * patch * patch))},
                            {"bias", builder.normal({width}, 0.02)}};
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.transpose(torch.flatten(self.proj.forward(x), 2), 1, 2)\n";
  parts.children = {{"proj", builder.make("torch.nn.modules.conv.Conv2d", std::move(convolution))}};
  return builder.make("timm.layers.patch_embed.PatchEmbed", std::move(parts));
}

Module attention(ModuleBuilder& builder) {
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  batch = x.size(0)\n"
      "  tokens = x.size(1)\n"
      "  qkv = self.qkv.forward(x).reshape([batch, tokens, 3, 3, 64]).permute([2, 0, 3, 1, 4])\n"
      "  query, key, value = torch.select(qkv, 0, 0), torch.select(qkv, 0, 1), torch.select(qkv, 0, 2)\n"
      "  scores = torch.matmul(query * 0.125, torch.transpose(key, -2, -1))\n"
      "  x = torch.matmul(torch.softmax(scores, -1), value)\n"
      "  return self.proj.forward(torch.transpose(x, 1, 2).reshape([batch, tokens, 192]))\n";
  // Gains above 1 let a token attend to a few others rather than to the mean of all, which would be the same for every
  // image, and make up for the scale that averaging takes away.
  parts.children = {{"qkv", linear(builder, width, 3 * width, 1.4)}, {"proj", linear(builder, width, width, 1.5)}};
  return builder.make("timm.layers.attention.Attention", std::move(parts));
}

Module perceptron(ModuleBuilder& builder) {
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return self.fc2.forward(self.act.forward(self.fc1.forward(x)))\n";
  parts.children = {{"fc1", linear(builder, width, hidden, 1.4)},
                    {"act", stateless(builder, "torch.nn.modules.activation.GELU", "torch.gelu(input)")},
                    {"fc2", linear(builder, hidden, width)}};
  return builder.make("timm.layers.mlp.Mlp", std::move(parts));
}

Module block(ModuleBuilder& builder) {
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  x = x + self.attn.forward(self.norm1.forward(x))\n"
      "  return x + self.mlp.forward(self.norm2.forward(x))\n";
  parts.children = {{"norm1", layer_norm(builder)},
                    {"attn", attention(builder)},
                    {"norm2", layer_norm(builder)},
                    {"mlp", perceptron(builder)}};
  return builder.make("timm.models.vision_transformer.Block", std::move(parts));
}

}  // namespace

Module vit_tiny(ModuleBuilder& builder) {
  std::vector<Module> blocks;
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  x = self.patch_embed.forward(x)\n"
      "  x = torch.cat([self.cls_token.expand([x.size(0), -1, -1]), x], 1) + self.pos_embed\n"
      "  x = self.norm.forward(self.blocks.forward(x))\n"
      "  return self.head.forward(torch.select(x, 1, 0))\n";
  parts.parameters = {{"cls_token", builder.normal({1, 1, width}, 1)},
                      {"pos_embed", builder.normal({1, patches + 1, width}, 0.5)}};
  parts.children = {{"patch_embed", patch_embedding(builder)}};
  blocks.reserve(depth);
  for (int i = 0; i < depth; ++i) blocks.push_back(block(builder));
  parts.children.emplace_back("blocks", sequential(builder, blocks));
  parts.children.emplace_back("norm", layer_norm(builder));
  parts.children.emplace_back("head", linear(builder, width, 1000));
  return builder.make("timm.models.vision_transformer.VisionTransformer", std::move(parts));
}

}  // namespace amp4ec::zoo
