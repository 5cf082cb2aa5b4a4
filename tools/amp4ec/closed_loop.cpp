// SPDX-License-Identifier: Apache-2.0
#include "closed_loop.hpp"

#include "interrupt.hpp"

#include <amp4ec/model/compare.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace amp4ec::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// Past every time limit of a request: what has not completed by then never will.
constexpr std::chrono::seconds patience{90};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Shared with the requests under way, so that one that completes too late finds it alive.
class Loop : public std::enable_shared_from_this<Loop> {
 public:
  Loop(Session& session, const References& references, const LoadOptions& options)
      : session_(session), references_(references), options_(options) {}

  LoadResult run(const Interrupt& interrupt) {
    begin_ = Clock::now();
    for (std::size_t slot = 0; slot < options_.in_flight; ++slot) {
      if (const auto id = take_id()) submit(*id);
    }
    wait(interrupt);
    return result();
  }

 private:
  struct Request {
    Clock::time_point start;
    std::uint8_t completions = 0;
    bool answered = false;
  };

  /// The next request, if there shall be one.
  std::optional<std::size_t> take_id() {
    const std::lock_guard lock(mutex_);
    return take_id_locked();
  }

  std::optional<std::size_t> take_id_locked() {
    const bool enough = options_.requests > 0 && requests_.size() >= options_.requests;
    if (stopped_ || enough) return std::nullopt;
    ++under_way_;
    last_submission_ = Clock::now();
    requests_.push_back({last_submission_});
    return requests_.size() - 1;
  }

  void submit(std::size_t id) {
    const Values& inputs = references_.inputs[id % references_.inputs.size()];
    session_.async_infer(inputs, [self = shared_from_this(), id](Result<Value> answer) { self->complete(id, answer); });
  }

  void complete(std::size_t id, const Result<Value>& answer) {
    const auto now = Clock::now();
    Difference difference;
    const bool compared = answer && !references_.answers.empty();
    if (compared) difference = compare(*answer, references_.answers[id % references_.answers.size()]);

    std::optional<std::size_t> next;
    {
      const std::lock_guard lock(mutex_);
      if (++requests_[id].completions > 1) return;
      --under_way_;
      if (answer) {
        requests_[id].answered = true;
        answered_.push_back({seconds_between(begin_, now), 1e3 * seconds_between(requests_[id].start, now)});
        if (compared) judge(difference);
        next = take_id_locked();
      } else if (!first_error_) {
        first_error_ = answer.error();
      }
      last_completion_ = now;
      if (under_way_ == 0) idle_.notify_all();
    }
    if (next) submit(*next);
  }

  void judge(const Difference& difference) {
    worst_error_ = std::max(worst_error_, difference.relative_error);
    if (!(difference.relative_error <= answer_tolerance)) ++unequal_;
  }

  void wait(const Interrupt& interrupt) {
    constexpr std::chrono::milliseconds glance{50};  // how soon an interrupt is seen
    const auto end = begin_ + options_.duration;
    std::unique_lock lock(mutex_);
    const auto idle = [this] { return under_way_ == 0; };
    while (!idle() && !interrupt) {
      if (options_.requests == 0 && Clock::now() >= end) break;
      const auto until = Clock::now() + glance;
      idle_.wait_until(lock, options_.requests == 0 ? std::min(end, until) : until, idle);
    }
    stopped_ = true;
    if (interrupt) {
      lock.unlock();
      session_.close();
      lock.lock();
    }
    idle_.wait_for(lock, patience, idle);
  }

  LoadResult result() {
    const std::lock_guard lock(mutex_);
    LoadResult result;
    result.seconds = seconds_between(begin_, std::max(last_completion_, begin_));
    result.throughput_rps = steady_rate(result.seconds);
    result.answered = answered_;
    result.submitted = requests_.size();
    for (const Request& request : requests_) {
      if (!request.answered) ++result.lost;
      if (request.completions > 1) ++result.duplicated;
    }
    result.unequal = unequal_;
    result.worst_error = worst_error_;
    result.first_error = first_error_;
    return result;
  }

  /// Completions a second between the time when the first requests in flight were through and the last submission:
  /// filling and draining the plan say nothing of its rate. All of them, where that time is too short to tell: quotas
  /// are granted in periods of some 20 ms.
  double steady_rate(double seconds) const {
    constexpr double shortest_s = 0.2;
    const double full_until = seconds_between(begin_, last_submission_);
    const auto end = std::ranges::upper_bound(answered_, full_until, {}, &AnsweredRequest::at_s);
    const auto steady = static_cast<std::size_t>(end - answered_.begin());
    const std::size_t first = options_.in_flight - 1;
    const double span = steady > first ? answered_[steady - 1].at_s - answered_[first].at_s : 0;
    if (span >= shortest_s) return static_cast<double>(steady - 1 - first) / span;
    return seconds > 0 ? static_cast<double>(answered_.size()) / seconds : 0;
  }

  Session& session_;
  const References& references_;
  const LoadOptions options_;
  Clock::time_point begin_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  std::vector<Request> requests_;
  std::vector<AnsweredRequest> answered_;
  std::size_t under_way_ = 0;
  bool stopped_ = false;
  std::size_t unequal_ = 0;
  double worst_error_ = 0;
  Clock::time_point last_submission_;
  Clock::time_point last_completion_;
  std::optional<Error> first_error_;
};

}  // namespace

LoadResult run_closed_loop(Session& session, const References& references, const LoadOptions& options,
                           const Interrupt& interrupt) {
  return std::make_shared<Loop>(session, references, options)->run(interrupt);
}

}  // namespace amp4ec::cli
