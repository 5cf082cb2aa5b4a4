// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// How many nodes of each kind.
using Counts = std::vector<std::uint32_t>;

inline std::size_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

/// All vectors of counts up to a largest one, numbered in mixed radix: with every count at most one they are the sets
/// of nodes. A vector's number is larger than those of the vectors it contains, and numbers subtract as vectors do, so
/// ascending order is an order for dynamic programming.
class CountVectors {
 public:
  explicit CountVectors(Counts most) : most_(std::move(most)) {
    for (const std::uint32_t count : most_) {
      stride_.push_back(size_);
      size_ = size_ > limit / (count + 1) ? limit : size_ * (count + 1);
    }
  }

  [[nodiscard]] const Counts& most() const noexcept { return most_; }
  [[nodiscard]] std::size_t kinds() const noexcept { return most_.size(); }
  /// How many there are; at most `limit`, which stands for more: then they have no numbers.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t full() const noexcept { return size_ - 1; }
  /// What one node of this kind adds to a number.
  [[nodiscard]] std::size_t one(std::size_t kind) const { return stride_[kind]; }
  [[nodiscard]] std::uint32_t count(std::size_t number, std::size_t kind) const {
    return static_cast<std::uint32_t>(number / stride_[kind] % (most_[kind] + 1));
  }
  [[nodiscard]] Counts counts(std::size_t number) const {
    Counts result(kinds());
    for (std::size_t k = 0; k < kinds(); ++k) result[k] = count(number, k);
    return result;
  }
  [[nodiscard]] std::size_t number(const Counts& counts) const {
    std::size_t result = 0;
    for (std::size_t k = 0; k < kinds(); ++k) result += counts[k] * stride_[k];
    return result;
  }

  /// Turns the vector of a number into that of the next.
  void advance(Counts& counts) const {
    for (std::size_t k = 0; k < kinds(); ++k) {
      if (counts[k] < most_[k]) {
        ++counts[k];
        return;
      }
      counts[k] = 0;
    }
  }

  static constexpr std::size_t limit = std::numeric_limits<std::size_t>::max() / 2;

 private:
  Counts most_;
  std::vector<std::size_t> stride_;
  std::size_t size_ = 1;
};

}  // namespace amp4ec::detail
