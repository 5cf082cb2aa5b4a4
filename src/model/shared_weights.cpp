// SPDX-License-Identifier: Apache-2.0
#include "model/shared_weights.hpp"

#include "model/typed_value.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

template <class Visit>
void for_each_constant_read(jit::Node* node, const Visit& visit) {
  for (const jit::Value* input : node->inputs()) {
    if (input->node()->kind() != c10::prim::Constant) continue;
    if (const auto value = jit::toIValue(input)) for_each_tensor(*value, visit);
  }
  for (jit::Block* block : node->blocks()) {
    for (jit::Node* inner : block->nodes()) for_each_constant_read(inner, visit);
  }
}

}  // namespace

std::vector<SharedWeight> shared_weights(const Lowered& lowered) {
  constexpr std::uint64_t worth_telling = 1024;
  std::map<const void*, SharedWeight> by_storage;
  for (std::size_t layer = 0; layer < lowered.layers.size(); ++layer) {
    for_each_constant_read(lowered.layers[layer], [&](const at::Tensor& tensor) {
      if (!tensor.has_storage() || tensor.storage().nbytes() < worth_telling) return;
      SharedWeight& weight = by_storage[tensor.storage().unsafeGetStorageImpl()];
      weight.bytes = Bytes{tensor.storage().nbytes()};
      if (weight.layers.empty() || weight.layers.back() != layer) weight.layers.push_back(layer);
    });
  }
  std::vector<SharedWeight> shared;
  for (auto& [storage, weight] : by_storage) {
    if (weight.layers.size() > 1) shared.push_back(std::move(weight));
  }
  std::sort(shared.begin(), shared.end(),
            [](const SharedWeight& a, const SharedWeight& b) { return a.layers < b.layers; });
  return shared;
}

}  // namespace amp4ec::detail
