// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/sample.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace amp4ec::detail {

/// The last samples of a node. Allocates nothing more once it is full.
class History {
 public:
  explicit History(std::size_t window) : window_(std::max<std::size_t>(window, 1)) {}

  void keep(const Sample& sample) {
    if (samples_.size() < window_) {
      samples_.push_back(sample);
      return;
    }
    samples_[oldest_] = sample;  // strings and vectors keep their memory
    oldest_ = (oldest_ + 1) % window_;
  }

  /// Null before the first.
  [[nodiscard]] const Sample* latest() const noexcept {
    if (samples_.empty()) return nullptr;
    return &samples_[(oldest_ + samples_.size() - 1) % samples_.size()];
  }

  /// Oldest first.
  [[nodiscard]] std::vector<Sample> copy() const {
    std::vector<Sample> samples;
    samples.reserve(samples_.size());
    for (std::size_t i = 0; i < samples_.size(); ++i) samples.push_back(samples_[(oldest_ + i) % samples_.size()]);
    return samples;
  }

 private:
  std::size_t window_;
  std::vector<Sample> samples_;  ///< A ring once it is full.
  std::size_t oldest_ = 0;
};

}  // namespace amp4ec::detail
