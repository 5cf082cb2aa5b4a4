// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstdint>

namespace amp4ec {

/// How the work of one request differs from the next one's. The mean is always the stage's.
enum class ServiceNoise : std::uint8_t {
  none,         ///< Always the same.
  lognormal,    ///< Lognormal with a given coefficient of variation: what measured inference times look like.
  exponential,  ///< Exponential: as uneven as queueing theory likes it.
};

/// How a node holds its workers to its CPU quota. Each worker uses one CPU at most (see `node_speed`).
enum class QuotaModel : std::uint8_t {
  /// Evenly: with k busy workers each computes at min(1, quota / k) of a CPU at any time.
  even,
  /// As the kernel's CFS bandwidth control does: in each period the busy workers compute at full speed until quota *
  /// period of CPU time is used, and all stand still for the rest of it. What is left over is lost. Each node's periods
  /// begin at a time of their own. Slices, bursts and the kernel's tick are left out.
  periods,
};

/// How long a worker is busy with a request of a given `Stage::time_us`.
struct ServiceModel {
  ServiceNoise noise = ServiceNoise::none;
  double variation = 0.1;  ///< lognormal: standard deviation over mean; not negative.
  QuotaModel quota = QuotaModel::even;
  double period_us = 20'000;  ///< periods: their length, positive. What a runtime sets; the kernel's default is 100 ms.

  /// Squared coefficient of variation of the work of a request.
  [[nodiscard]] double squared_variation() const noexcept {
    switch (noise) {
      case ServiceNoise::none: return 0;
      case ServiceNoise::lognormal: return variation * variation;
      case ServiceNoise::exponential: return 1;
    }
    return 0;
  }

  bool operator==(const ServiceModel&) const = default;
};

/// @error InvalidArgument for a variation that is negative or past 100, or a period that is not positive.
inline Result<void> validate_service(const ServiceModel& service) {
  constexpr double highest = 100;
  if (!(service.variation >= 0 && service.variation <= highest)) {
    return Error{Errc::InvalidArgument,
                 fmt::format("{} is not a variation of service times; it is standard deviation over mean, from 0 to {}",
                             service.variation, highest)};
  }
  if (!std::isfinite(service.period_us) || service.period_us <= 0) {
    return Error{Errc::InvalidArgument,
                 fmt::format("{} us is not a period of a CPU quota; use a positive one", service.period_us)};
  }
  return {};
}

}  // namespace amp4ec
