// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace amp4ec {

/// From a request's arrival to its answer, in milliseconds. Percentiles by nearest rank. All 0 without an answer.
struct LatencyFigures {
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;

  bool operator==(const LatencyFigures&) const = default;
};

/// Requests that wait, not counting those served.
struct QueueFigures {
  double mean = 0;  ///< Over time.
  std::size_t max = 0;

  bool operator==(const QueueFigures&) const = default;
};

/// What one worker did.
struct SimulatedStage {
  std::string node;
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  std::uint64_t requests = 0;  ///< Served to the end, those of superseded attempts included.
  double busy = 0;             ///< Share of the time with a request in hand, throttled or not.
  double service_us = 0;       ///< Mean time in hand.
  double wait_us = 0;          ///< Mean time in the queue.
  QueueFigures queue;
  std::size_t failures = 0;  ///< How often it went down, over the whole run.

  bool operator==(const SimulatedStage&) const = default;
};

/// What one link carried; only links that the plan uses.
struct SimulatedLink {
  std::string from;
  std::string to;
  std::uint64_t messages = 0;
  double busy = 0;
  double wait_us = 0;
  QueueFigures queue;
  std::size_t failures = 0;

  bool operator==(const SimulatedLink&) const = default;
};

struct SimulatedNode {
  std::string name;
  double utilisation = 0;  ///< CPU time used over what the quota allows.

  bool operator==(const SimulatedNode&) const = default;
};

/// A slice of the timeline: what was answered in it.
struct SimulatedSlice {
  double second = 0;  ///< When it begins.
  double throughput_rps = 0;
  std::optional<double> p99_ms;  ///< None without an answer.

  bool operator==(const SimulatedSlice&) const = default;
};

/// What became of the requests of a simulation. Figures of time leave out the warm-up: they are of the time from the
/// first counted arrival to the last answer. Counts are of the whole run; requests = answered + lost + refused.
struct Simulation {
  std::size_t requests = 0;  ///< That came.
  std::size_t answered = 0;
  std::size_t lost = 0;        ///< Admitted and never answered: no route was left, nor would one come back.
  std::size_t refused = 0;     ///< Not admitted: the limits were reached, or no route was left.
  std::size_t duplicated = 0;  ///< Answered twice. 0 by construction, and counted all the same.
  std::size_t replayed = 0;    ///< Times a request was sent again after a failure on its route.
  std::uint64_t events = 0;    ///< Steps of the simulation.

  double seconds = 0;  ///< That the figures below are of.
  double throughput_rps = 0;
  LatencyFigures latency_ms;
  double mean_in_system = 0;  ///< Requests admitted and not yet answered, over time.
  QueueFigures waiting;       ///< Of those, the ones that wait to be sent.

  /// False when the requests in the system grew by more than chance explains (open loops only): between the second and
  /// the last quarter of the arrivals, by more than 2 + 2 sqrt(5/12 (c_a^2 + c_s^2) n), n the counted arrivals, c the
  /// coefficients of variation of arrival and service times. With Poisson arrivals, 10,000 requests show an overload of
  /// 2.6 % half of the time and one of 5 % nearly always; 100,000 of 0.8 % and 1.6 %.
  bool stable = true;
  double growth_rps = 0;  ///< How fast they grew, requests a second.

  std::vector<SimulatedStage> stages;  ///< One for each worker, in the order of the plan.
  std::vector<SimulatedLink> links;
  std::vector<SimulatedNode> nodes;  ///< In the order in which they were given.
  /// The whole run in slices of one second; longer ones if there would be more than 10,000.
  std::vector<SimulatedSlice> timeline;
  double slice_s = 1;

  bool operator==(const Simulation&) const = default;
};

}  // namespace amp4ec
