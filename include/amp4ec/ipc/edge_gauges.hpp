// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/edge.hpp>

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace amp4ec::ipc {

/// The messages in front of one consumer, on all edges that lead to it, as an onlooker sees them. Thread-safe.
class EdgeGauges {
 public:
  /// In the place of the one that this producer had: its edge is new.
  void set(std::uint8_t producer, EdgeGauge gauge) {
    const std::lock_guard lock(mutex_);
    gauges_.insert_or_assign(producer, std::move(gauge));
  }

  /// Messages that the consumer has not let go of: they wait or are in execution.
  [[nodiscard]] std::uint64_t held() const {
    const std::lock_guard lock(mutex_);
    std::uint64_t sum = 0;
    for (const auto& entry : gauges_) sum += entry.second.held();
    return sum;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::uint8_t, EdgeGauge> gauges_;
};

}  // namespace amp4ec::ipc
