// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/arrivals.hpp>
#include <amp4ec/plan/outage.hpp>
#include <amp4ec/plan/router.hpp>
#include <amp4ec/plan/service_model.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace amp4ec {

/// Most requests of one simulation: each takes some 50 bytes.
inline constexpr std::size_t simulate_max_requests = 20'000'000;

/// What a plan is put through. The defaults are a closed loop that keeps it full, without chance or failures.
struct SimulateOptions {
  Arrivals arrivals;
  std::size_t requests = 10'000;  ///< How many come; with `Arrivals::at`, at most so many of the times.
  std::size_t warm_up = 0;        ///< So many of the first are left out of the figures.
  /// Requests sent and not yet answered, at most. Without: 4 for each stage of each pipeline, as in a session, or what
  /// a closed loop keeps in flight.
  std::optional<std::size_t> max_in_flight;
  std::optional<std::size_t> max_waiting;  ///< Requests admitted beyond those; without, no limit.
  Router router;                           ///< Empty: "shortest-completion".
  ServiceModel service;
  std::vector<Outage> outages;
  RandomFailures failures;
  std::uint64_t seed = 1;
  std::uint64_t max_events = 1'000'000'000;  ///< Gives up past so many: failures may keep requests from ever ending.
};

/// Every part by itself and with the others. @error InvalidArgument
inline Result<void> validate_simulate_options(const SimulateOptions& options, std::span<const NodeSpec> nodes,
                                              std::span<const LinkSpec> links) {
  const auto refuse = [](std::string what) { return Error{Errc::InvalidArgument, std::move(what)}; };
  if (auto valid = validate_arrivals(options.arrivals); !valid) return valid;
  if (options.requests == 0) return refuse("a simulation of 0 requests says nothing; use at least 1");
  if (options.requests > simulate_max_requests) {
    return refuse(fmt::format("{} requests are more than one simulation takes; use at most {}", options.requests,
                              simulate_max_requests));
  }
  const bool listed = options.arrivals.kind == ArrivalKind::times;
  const std::size_t coming = listed ? std::min(options.requests, options.arrivals.times_s.size()) : options.requests;
  if (options.warm_up >= coming) {
    return refuse(fmt::format("a warm-up of {} requests leaves none of {} to be counted", options.warm_up, coming));
  }
  if (options.max_in_flight == std::size_t{0}) {
    return refuse("with at most 0 requests in flight none is ever sent; use at least 1");
  }
  const bool closed = options.arrivals.kind == ArrivalKind::closed_loop;
  if (closed && options.arrivals.in_flight != Arrivals::as_admitted && options.max_in_flight && options.max_waiting) {
    const std::size_t admitted = *options.max_in_flight + *options.max_waiting;
    if (admitted < options.arrivals.in_flight && admitted >= *options.max_waiting) {
      return refuse(fmt::format("a closed loop of {} requests, but only {} are admitted ({} in flight, {} waiting)",
                                options.arrivals.in_flight, admitted, *options.max_in_flight, *options.max_waiting));
    }
  }
  if (auto valid = validate_service(options.service); !valid) return valid;
  if (auto valid = validate_outages(options.outages, nodes, links); !valid) return valid;
  if (auto valid = validate_failures(options.failures); !valid) return valid;
  return {};
}

}  // namespace amp4ec
