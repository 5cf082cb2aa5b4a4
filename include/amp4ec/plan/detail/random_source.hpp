// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

namespace amp4ec::detail {

/// Random numbers that are the same everywhere: the standard fixes the engine but not the distributions.
/// Streams of one seed are independent of one another, so that a change of one kind of chance leaves the others alone.
class RandomSource {
 public:
  RandomSource(std::uint64_t seed, std::uint32_t stream) {
    std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U), stream};
    engine_.seed(sequence);
  }

  /// In [0, 1).
  double uniform() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }

  /// Exponential with mean 1.
  double exponential() { return -std::log1p(-uniform()); }

  /// Normal with mean 0 and deviation 1 (Box and Muller).
  double normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(2 * exponential());
    const double angle = 2 * std::numbers::pi * uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  std::mt19937_64 engine_;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace amp4ec::detail
