// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace amp4ec::ipc {

/// How many requests took how long, in buckets that widen with the time: eight to each doubling, from 1 us (2^10 ns) to
/// 275 s (2^38 ns); what lies beyond counts as the shortest or the longest. So every time is known to within 1/17, 5.9
/// %. A plain value of fixed size. The counts of a worker's whole life grow only; `since` gives those of a span of
/// time.
class ServiceHistogram {
 public:
  static constexpr unsigned lowest_bit = 10;
  static constexpr unsigned highest_bit = 38;
  static constexpr unsigned steps_log2 = 3;
  static constexpr unsigned steps = 1U << steps_log2;
  static constexpr std::size_t buckets = std::size_t{highest_bit - lowest_bit} * steps;

  /// Always below `buckets`.
  static constexpr std::size_t bucket_of(std::chrono::nanoseconds service) noexcept {
    constexpr std::int64_t shortest = std::int64_t{1} << lowest_bit;
    constexpr std::int64_t longest = (std::int64_t{1} << highest_bit) - 1;
    const auto time = static_cast<std::uint64_t>(std::clamp<std::int64_t>(service.count(), shortest, longest));
    const auto octave = static_cast<unsigned>(std::bit_width(time)) - 1;
    const auto step = (time >> (octave - steps_log2)) & (steps - 1);
    return std::size_t{octave - lowest_bit} * steps + step;
  }

  /// What the times in a bucket are taken for: the value from which both ends differ by the same factor of themselves.
  static double time_us(std::size_t bucket) noexcept {
    const auto low = static_cast<double>(steps + bucket % steps);
    const double high = low + 1;
    return std::ldexp(2 * low * high / (low + high), static_cast<int>(lowest_bit - steps_log2 + bucket / steps)) / 1e3;
  }

  /// The time that a share `q` (0 to 1) of the requests did not exceed; 0 without requests.
  [[nodiscard]] double quantile_us(double q) const noexcept {
    double total = 0;
    for (const auto count : counts) total += static_cast<double>(count);
    const double wanted = std::max(std::ceil(q * total), 1.0);
    double passed = 0;
    for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
      passed += static_cast<double>(counts[bucket]);
      if (passed >= wanted) return time_us(bucket);
    }
    return 0;
  }

  /// The counts since an earlier reading. A count that fell gives 0.
  [[nodiscard]] ServiceHistogram since(const ServiceHistogram& earlier) const noexcept {
    ServiceHistogram grown;
    for (std::size_t i = 0; i < buckets; ++i) grown.counts[i] = counts[i] - std::min(counts[i], earlier.counts[i]);
    return grown;
  }

  /// Stops at the largest count instead of starting again at 0: a worker may claim anything.
  ServiceHistogram& operator+=(const ServiceHistogram& other) noexcept {
    for (std::size_t i = 0; i < buckets; ++i) {
      counts[i] += std::min(other.counts[i], std::numeric_limits<std::uint64_t>::max() - counts[i]);
    }
    return *this;
  }

  std::array<std::uint64_t, buckets> counts{};
};

}  // namespace amp4ec::ipc
