// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace amp4ec {

/// How long a worker that has work may show no sign of life before it is taken for stuck: `least`, and 20 times its
/// mean service time, since some requests take longer than others. Time for which its node was throttled does not
/// count.
inline std::chrono::nanoseconds stall_limit(std::chrono::nanoseconds least, double mean_service_us) noexcept {
  constexpr double factor = 20;
  constexpr double longest_us = 1e12;  // Days; and no overflow, whatever a worker says of itself.
  const double us = std::clamp(factor * mean_service_us, 0.0, longest_us);
  return std::max(least, std::chrono::nanoseconds(static_cast<std::int64_t>(us * 1e3)));
}

}  // namespace amp4ec
