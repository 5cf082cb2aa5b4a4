// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec {

/// Longest time that a simulation takes for one, in seconds (30,000 years): beyond it, microseconds get lost in a
/// double.
inline constexpr double longest_simulated_s = 1e12;

/// When requests come.
enum class ArrivalKind : std::uint8_t {
  closed_loop,  ///< So many are in flight always: the next comes when one is answered.
  poisson,      ///< Independently of one another and of the answers, at a mean rate.
  constant,     ///< One every 1 / rate seconds, the first at 0.
  times,        ///< At given times.
};

/// The requests that a simulation is fed with. Make one by the functions: `Arrivals::poisson(40)`.
struct Arrivals {
  /// As many in flight as are admitted at once: what keeps the plan full.
  static constexpr std::size_t as_admitted = std::numeric_limits<std::size_t>::max();

  ArrivalKind kind = ArrivalKind::closed_loop;
  std::size_t in_flight = as_admitted;  ///< closed_loop: positive.
  double rate_rps = 0;                  ///< poisson and constant: positive, requests a second.
  std::vector<double> times_s;          ///< times: seconds from the start, none before the one in front of it.

  static Arrivals closed_loop(std::size_t in_flight = as_admitted) {
    return {ArrivalKind::closed_loop, in_flight, 0, {}};
  }
  static Arrivals poisson(double rate_rps) { return {ArrivalKind::poisson, 0, rate_rps, {}}; }
  static Arrivals constant(double rate_rps) { return {ArrivalKind::constant, 0, rate_rps, {}}; }
  static Arrivals at(std::vector<double> times_s) { return {ArrivalKind::times, 0, 0, std::move(times_s)}; }
};

/// The open loops with a rate, by name: "poisson" or "constant". @error InvalidArgument lists them.
inline Result<ArrivalKind> parse_arrival_kind(std::string_view name) {
  if (name == "poisson") return ArrivalKind::poisson;
  if (name == "constant") return ArrivalKind::constant;
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not a way to arrive; use poisson or constant", name)};
}

/// @error InvalidArgument for 0 in flight, a rate that is not a positive number, times that are none or not ascending.
inline Result<void> validate_arrivals(const Arrivals& arrivals) {
  const auto refuse = [](std::string what) { return Error{Errc::InvalidArgument, std::move(what)}; };
  switch (arrivals.kind) {
    case ArrivalKind::closed_loop:
      if (arrivals.in_flight == 0) return refuse("a closed loop of 0 requests in flight never begins; use at least 1");
      return {};
    case ArrivalKind::poisson:
    case ArrivalKind::constant: {
      // Beyond these, times lose their meaning in a double: requests come at once, or never.
      constexpr double lowest = 1e-9;
      constexpr double highest = 1e9;
      if (!(arrivals.rate_rps >= lowest && arrivals.rate_rps <= highest)) {
        return refuse(
            fmt::format("{} is not an arrival rate; write requests a second, more than 0, e.g. 40", arrivals.rate_rps));
      }
      return {};
    }
    case ArrivalKind::times:
      if (arrivals.times_s.empty()) return refuse("the list of arrival times is empty; give at least one");
      for (std::size_t i = 0; i < arrivals.times_s.size(); ++i) {
        const double time = arrivals.times_s[i];
        if (!(time >= (i == 0 ? 0 : arrivals.times_s[i - 1]) && time <= longest_simulated_s)) {
          return refuse(
              fmt::format("arrival time {} is {} s; times are seconds from 0 on, in ascending order", i, time));
        }
      }
      return {};
  }
  return refuse("there is no such kind of arrivals");
}

}  // namespace amp4ec
