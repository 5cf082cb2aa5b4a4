// SPDX-License-Identifier: Apache-2.0
#include "model/tuned_executor.hpp"

#include "model/lowering.hpp"

#include <amp4ec/model/compare.hpp>

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <optional>
#include <utility>

#include <malloc.h>

namespace amp4ec::detail {

namespace {

using Clock = std::chrono::steady_clock;

// Half of what a session accepts unless told otherwise: other inputs may differ more than these.
constexpr double tolerance = 5e-5;

// The least of a few runs, taken in turns: the machine's speed changes. Short runs are repeated more often, since a
// neighbour's work weighs more on them; where one run takes long, one round tells enough. One there is always: the
// second run needs more memory than the first, and a segment's need must not depend on how fast its node is.
constexpr int least_rounds = 3;
constexpr int most_rounds = 6;
constexpr std::chrono::milliseconds long_enough{30};
constexpr std::chrono::milliseconds long_run{150};

bool are_equal(const Values& answer, const Values& expected) {
  return std::equal(answer.begin(), answer.end(), expected.begin(), expected.end(),
                    [](const Value& a, const Value& b) { return compare(a, b).relative_error <= tolerance; });
}

/// What runs are compared by. One thread's is its CPU time: a throttled node pauses in some runs, and always in those
/// of the same executor where a pair of runs takes as long as the quota lasts. Of several threads it is what passes.
std::chrono::nanoseconds now() {
  if (at::get_num_threads() > 1) return Clock::now().time_since_epoch();
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

struct Run {
  Result<Values> answer;
  std::chrono::nanoseconds time;
};

Run timed_run(SegmentExecutor& executor, const Values& inputs) {
  const auto start = now();
  auto answer = executor.run(inputs);
  return {std::move(answer), now() - start};
}

std::chrono::nanoseconds time_of(SegmentExecutor& executor, const Values& inputs) {
  const Run run = timed_run(executor, inputs);
  return run.answer ? run.time : std::chrono::nanoseconds::max();
}

Values copies_of(const Values& values) {
  Values copies;
  for (const Value& value : values) copies.push_back(value.clone());
  return copies;
}

/// How long the candidate takes compared with the plain executor; empty when it is not possible or not equal.
std::optional<double> time_ratio(const Candidate& candidate, SegmentExecutor& plain,
                                 std::chrono::nanoseconds plain_first, bool is_long, const Values& inputs,
                                 const Values& expected) try {
  const auto executor = candidate.make();
  malloc_trim(0);  // As below: LibTorch has made and freed copies of the weights.
  auto [answer, time] = timed_run(*executor, inputs);
  if (!answer || !are_equal(*answer, expected)) return std::nullopt;
  *answer = {};  // Its memory is the next run's.
  auto plain_time = plain_first;
  const auto compared = Clock::now();
  for (int round = 0; round < most_rounds; ++round) {
    if (round >= 1 && is_long) break;
    if (round >= least_rounds && Clock::now() - compared >= long_enough) break;
    plain_time = std::min(plain_time, time_of(plain, inputs));
    time = std::min(time, time_of(*executor, inputs));
  }
  return std::chrono::duration<double>(time) / std::chrono::duration<double>(plain_time);
} catch (const std::exception&) {
  return std::nullopt;  // LibTorch cannot transform every graph.
}

}  // namespace

Result<Values> TunedExecutor::tune(const Values& inputs) try {
  const auto start = Clock::now();
  auto [answer, plain] = timed_run(*executor_, inputs);
  const bool is_long = Clock::now() - start >= long_run;
  if (!answer) return answer;            // These inputs say nothing about the candidates.
  Values expected = copies_of(*answer);  // An answer may lie in what the next call changes.
  *answer = {};
  const Candidate* best = nullptr;
  double best_ratio = 1;  // Of its time to the plain one's, taken in turns: the machine's speed changes.
  for (const Candidate& candidate : candidates_) {
    const auto ratio = time_ratio(candidate, *executor_, plain, is_long, inputs, expected);
    if (ratio && *ratio < best_ratio) {
      best = &candidate;
      best_ratio = *ratio;
    }
    malloc_trim(0);  // Its memory is free now, and would stay resident while the next form is made.
  }
  if (best != nullptr) {
    executor_ = best->make();  // Again: two kept at once, beside the plain one, would need memory for three.
    chosen_ = best->name;
    malloc_trim(0);
  }
  candidates_.clear();
  return expected;
} catch (const std::exception& exception) {  // No memory for a copy, or for the best form a second time.
  return failure(exception, Errc::ExecutionFailed);
}

}  // namespace amp4ec::detail
