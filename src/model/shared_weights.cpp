// SPDX-License-Identifier: Apache-2.0
#include "model/shared_weights.hpp"

#include "model/graph_walk.hpp"
#include "model/typed_value.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

namespace amp4ec::detail {

std::vector<SharedWeight> shared_weights(const Lowered& lowered) {
  constexpr std::uint64_t worth_telling = 1024;
  std::map<const void*, SharedWeight> by_storage;
  for (std::size_t layer = 0; layer < lowered.layers.size(); ++layer) {
    const auto add = [&](const at::Tensor& tensor) {
      if (!tensor.has_storage() || tensor.storage().nbytes() < worth_telling) return;
      SharedWeight& weight = by_storage[tensor.storage().unsafeGetStorageImpl()];
      weight.bytes = Bytes{tensor.storage().nbytes()};
      if (weight.layers.empty() || weight.layers.back() != layer) weight.layers.push_back(layer);
    };
    for_each_constant_read(lowered.layers[layer], [&](const c10::IValue& value) { for_each_tensor(value, add); });
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
