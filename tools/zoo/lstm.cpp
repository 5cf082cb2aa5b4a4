// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"
#include "models.hpp"

#include <ATen/ATen.h>

#include <cmath>

namespace amp4ec::zoo {
namespace {

using torch::jit::Module;

constexpr std::int64_t features = 64;
constexpr std::int64_t hidden = 128;
constexpr std::int64_t classes = 10;

Module layer(ModuleBuilder& builder, std::int64_t inputs) {
  ModuleParts parts;
  parts.source =
      "def forward(self, input: Tensor) -> Tensor:\n"
      "  state = torch.zeros([1, input.size(0), 128], dtype=input.dtype, device=input.device)\n"
      "  weights = [self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]\n"
      "  output, _, _ = torch.lstm(input, [state, state], weights, True, 1, 0., self.training, False, True)\n"
      "  return output\n";
  // Twice torch.nn's usual scale: its gates would stay half open and every step would look like the one before.
  parts.parameters = {
      {"weight_ih_l0", builder.normal({4 * hidden, inputs}, 2 / std::sqrt(static_cast<double>(inputs)))},
      {"weight_hh_l0", builder.normal({4 * hidden, hidden}, 1 / std::sqrt(double{hidden}))},
      {"bias_ih_l0", builder.normal({4 * hidden}, 0.02)},
      {"bias_hh_l0", builder.normal({4 * hidden}, 0.02)}};
  return builder.make("torch.nn.modules.rnn.LSTM", std::move(parts));
}

}  // namespace

Module lstm(ModuleBuilder& builder) {
  ModuleParts parts;
  parts.source =
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  x = self.layers.forward(x)\n"
      "  return self.head.forward(torch.select(x, 1, -1))\n";
  const Module first = layer(builder, features);
  const Module second = layer(builder, hidden);
  parts.children = {{"layers", sequential(builder, {first, second})}, {"head", linear(builder, hidden, classes)}};
  return builder.make("amp4ec.zoo.LstmClassifier", std::move(parts));
}

}  // namespace amp4ec::zoo
