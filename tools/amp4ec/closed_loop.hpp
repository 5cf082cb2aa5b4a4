// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "references.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/runtime/session.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace amp4ec::cli {

class Interrupt;

/// An answer may differ from the reference by so much of its scale.
inline constexpr double answer_tolerance = 1e-4;

struct LoadOptions {
  std::size_t in_flight = 1;
  std::chrono::nanoseconds duration{};  ///< Submit for so long ...
  std::size_t requests = 0;             ///< ... or, if not 0, so many.
};

struct AnsweredRequest {
  double at_s = 0;  ///< Completion, since the load began.
  double latency_ms = 0;
};

/// What a load did. Every request that was submitted is accounted for.
struct LoadResult {
  double throughput_rps = 0;  ///< While the plan was full: the first requests in flight and the last are left out.
  double seconds = 0;         ///< From the first submission to the last completion.
  std::vector<AnsweredRequest> answered;  ///< In order of completion.
  std::size_t submitted = 0;
  std::size_t lost = 0;        ///< Submitted but never answered with a value.
  std::size_t duplicated = 0;  ///< Completed more than once.
  std::size_t unequal = 0;     ///< Answers that differ from the unsplit module's.
  double worst_error = 0;      ///< Largest relative error of an answer.
  std::optional<Error> first_error;
};

/// Keeps `in_flight` requests under way: each completion submits the next. Compares every answer with its reference
/// (if there are any). Blocks. An interrupt closes the session, so that what is under way ends at once.
LoadResult run_closed_loop(Session& session, const References& references, const LoadOptions& options,
                           const Interrupt& interrupt);

}  // namespace amp4ec::cli
