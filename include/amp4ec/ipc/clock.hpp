// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace amp4ec::ipc {

/// A time-out that never passes.
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

/// CLOCK_MONOTONIC in nanoseconds: the one clock that all processes of a machine share, so times may cross a ring.
inline std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Time from `start_ns` until now, 0 when `start_ns` lies in the future: a peer's time stamp is not to be trusted.
inline std::uint64_t elapsed_ns(std::uint64_t start_ns) noexcept {
  const std::uint64_t now = monotonic_ns();
  return now > start_ns ? now - start_ns : 0;
}

}  // namespace amp4ec::ipc
