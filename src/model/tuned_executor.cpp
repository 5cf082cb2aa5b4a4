// SPDX-License-Identifier: Apache-2.0
#include "model/tuned_executor.hpp"

#include <amp4ec/model/compare.hpp>

#include <algorithm>
#include <chrono>

namespace amp4ec::detail {

namespace {

using Clock = std::chrono::steady_clock;

// Half of what Form::Optimized promises: other inputs may differ more than these.
constexpr double tolerance = 5e-5;

// The least of a few runs, taken in turns: a throttled node pauses in some of them. Where one run takes long, it tells
// enough, also if it is the first.
constexpr int most_rounds = 3;
constexpr std::chrono::milliseconds long_run{150};

bool are_equal(const Values& answer, const Values& expected) {
  return std::equal(answer.begin(), answer.end(), expected.begin(), expected.end(),
                    [](const Value& a, const Value& b) { return compare(a, b).relative_error <= tolerance; });
}

Clock::duration time_of(SegmentExecutor& executor, const Values& inputs) {
  const auto start = Clock::now();
  return executor.run(inputs) ? Clock::now() - start : Clock::duration::max();
}

Values copies_of(const Values& values) {
  Values copies;
  for (const Value& value : values) copies.push_back(value.clone());
  return copies;
}

}  // namespace

bool TunedExecutor::is_faster(SegmentExecutor& candidate, const Values& inputs) {
  auto best = Clock::duration::max();
  auto other = Clock::duration::max();
  for (int round = 0; round < most_rounds; ++round) {
    best = std::min(best, time_of(*executor_, inputs));
    other = std::min(other, time_of(candidate, inputs));
  }
  return other < best;
}

Result<Values> TunedExecutor::tune(const Values& inputs) {
  auto start = Clock::now();
  auto answer = executor_->run(inputs);
  auto best = Clock::now() - start;
  if (!answer) return answer;            // These inputs say nothing about the candidates.
  Values expected = copies_of(*answer);  // An answer may lie in what the next call changes.
  for (Candidate& candidate : candidates_) {
    try {
      auto executor = candidate.make();
      start = Clock::now();
      const auto other = executor->run(inputs);
      const auto time = Clock::now() - start;
      if (!other || !are_equal(*other, expected)) continue;
      const bool is_better = stateful_ || (best >= long_run ? time < best : is_faster(*executor, inputs));
      if (!is_better) continue;
      best = time;
      executor_ = std::move(executor);
      chosen_ = candidate.name;
      if (stateful_) break;
    } catch (const std::exception&) {
      continue;  // LibTorch cannot transform every graph; the plain one remains.
    }
  }
  candidates_.clear();
  return expected;
}

}  // namespace amp4ec::detail
