// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace amp4ec::detail {

/// Dimensions in the order in which they lie in memory, the widest step first.
inline std::vector<std::int64_t> memory_order(const at::Tensor& tensor) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(tensor.dim()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return tensor.stride(a) > tensor.stride(b); });
  return order;
}

/// The permutation that undoes `order`. @pre each dimension stands in it once.
inline std::vector<std::int64_t> inverse_of(const std::vector<std::int64_t>& order) {
  std::vector<std::int64_t> inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    inverse[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  return inverse;
}

/// Elements from the first that the tensor shows to the last. @pre sizes and strides were checked, or are LibTorch's
/// own.
inline std::uint64_t extent(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  std::uint64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d)
    last += static_cast<std::uint64_t>((tensor.size(d) - 1) * tensor.stride(d));
  return last + 1;
}

}  // namespace amp4ec::detail
