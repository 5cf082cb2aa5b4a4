// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bare_replicas.hpp"
#include "closed_loop.hpp"
#include "event_log.hpp"
#include "references.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/runtime/session.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace amp4ec::cli {

struct RoundOptions {
  double seconds = 10;       ///< For everything; shared out over rounds of load and limit ...
  std::size_t requests = 0;  ///< ... or, if not 0, so many requests, and as long for the limit.
  std::size_t in_flight = 1;
  bool each_alone = false;  ///< Measure every bare replica alone as well. Takes longer than `seconds`.
};

/// What a stage did while there was load.
struct StageUse {
  StageReport latest;
  double busy_s = 0;
  double hop_s = 0;
  double cpu_s = 0;
  double throttled_us = 0;
  std::uint64_t requests = 0;
};

/// A bare replica alone; one figure a round.
struct AloneRates {
  std::vector<double> throughput_rps;
  std::vector<double> p50_ms;
  std::vector<double> p99_ms;
};

struct Event {
  double second = 0;  ///< Of load.
  std::string what;
};

/// One figure a round where there is a vector of them.
struct Measurement {
  std::vector<double> throughput_rps;
  std::vector<double> limit_rps;
  std::vector<double> efficiency;
  std::vector<double> single_rps;
  LoadResult load;  ///< Of all rounds, as if one followed the other.
  std::vector<StageUse> stages;
  std::vector<AloneRates> alone;  ///< By index of BareReplicas::nodes(); empty unless asked for.
  std::vector<Event> events;
};

/// Alternates between load on the session and bare replicas, so that both meet the same machine. Ends early when a
/// request is lost. Blocks. `events`: where the session's come in. @error what Baseline::run reports.
Result<Measurement> measure_rounds(Session& session, BareReplicas& replicas, const References& references,
                                   const RoundOptions& options, EventLog& events, const Interrupt& interrupt);

}  // namespace amp4ec::cli
