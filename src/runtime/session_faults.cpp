// SPDX-License-Identifier: Apache-2.0
// What a session does about workers that die or get stuck, and requests that are late.
#include "runtime/session_state.hpp"

#include <amp4ec/monitor/stall_limit.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace amp4ec::detail {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds longest_sweep{250};
constexpr std::chrono::milliseconds shortest_sweep{5};

}  // namespace

void SessionState::tell(SessionEvent::Kind kind, std::size_t stage, std::string what) const {
  if (!parts_.options.on_event) return;
  try {
    parts_.options.on_event({kind, stage, parts_.stages[stage].worker->node()->name, std::move(what), Clock::now()});
  } catch (...) {
    // SessionOptions says so: dropped.
  }
}

// -- death -----------------------------------------------------------------------------------------------------------

Result<void> SessionState::watch_for_death(std::size_t stage) {
  return assign_duplicate(watches_[stage].death, parts_.stages[stage].worker->worker().end_fd());
}

void SessionState::wait_for_death(std::size_t stage) {
  watches_[stage].moved = Clock::now();
  watches_[stage].ended = false;
  watches_[stage].death.async_wait(asio::posix::stream_descriptor::wait_read,
                                   [weak = weak_from_this(), stage](boost::system::error_code failed) {
                                     if (failed) return;
                                     const auto self = weak.lock();
                                     if (self && !self->is_closed()) self->on_death(stage);
                                   });
}

void SessionState::on_death(std::size_t stage) {
  boost::system::error_code ignored;
  watches_[stage].death.close(ignored);
  watches_[stage].ended = true;
  StageWorker& worker = *parts_.stages[stage].worker;
  Error reason = worker.reason_of_death();
  {
    const std::lock_guard lock(results_mutex_);
    if (const auto violation = std::exchange(watches_[stage].violation, {}); !violation.empty()) {
      reason.message += fmt::format(", for it or a neighbour broke the protocol: {}", violation);
    }
  }
  worker.leave_node();
  const auto stats = worker.counters().snapshot();
  const bool executed = stats && stats->phase == ipc::WorkerPhase::busy;
  std::size_t again = 0;
  bool repairs = false;
  {
    const std::lock_guard lock(mutex_);
    states_[stage].alive = false;
    // With it go the inputs that it kept for the dead. A thread that was given up may still read them.
    auto& inputs = parts_.stages[stage].ends.inputs;
    if (inputs) worker.worker().keep_until_end(std::make_shared<ipc::EdgeProducer>(std::move(*inputs)));
    inputs.reset();
    last_death_ = reason.message;
    repairs = repairs_;
  }
  watches_[stage].left_dead = !repairs;
  finish(collect());        // What it had finished counts.
  if (is_closed()) return;  // By one of the handlers.
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      Pending& request = entry->second;
      if (!request.route || !visits(parts_.routes[*request.route], stage)) {
        ++entry;
      } else if (auto error =
                     why_not_again(*entry, stage, executed && stats->current_request == entry->first, reason)) {
        entry = take(entry, std::move(*error), done);
      } else {
        leave_route(request);
        waiting_.emplace(-request.priority, entry->first);
        ++again;
        ++entry;
      }
    }
    place_waiting(done);
  }
  tell(SessionEvent::Kind::worker_died, stage,
       fmt::format("{}; {} requests are sent again, {} have failed", reason.message, again, done.size()));
  if (repairs && !is_closed()) restart_later(stage, stats && stats->requests > 0);
  finish(done);
}

/// Nothing for a request that may be sent again after the death of a worker on its route. `mutex_` is held.
std::optional<Error> SessionState::why_not_again(std::pair<const std::uint64_t, Pending>& entry, std::size_t stage,
                                                 bool executed, const Error& reason) const {
  Pending& request = entry.second;
  if (!repairs_) return reason;
  if (parts_.stages[stage].stateful) {
    return Error{
        Errc::StateLost,
        fmt::format("the worker that kept the model's state ended, and the state begins anew: {}", reason.message)};
  }
  const auto keeps_state = [&](std::uint8_t id) { return parts_.stages[id].stateful; };
  if (std::ranges::any_of(parts_.routes[*request.route], keeps_state)) {
    return Error{reason.code,
                 fmt::format("{}; the request is not sent again, because the model keeps state that it may "
                             "have changed",
                             reason.message)};
  }
  if (!executed || ++request.killed < enough_deaths) return std::nullopt;
  if (reason.code == Errc::OutOfMemory) return reason;
  return Error{Errc::RequestKillsWorker,
               fmt::format("two workers ended while they executed this request, the last so: {}", reason.message)};
}

// -- stalls and deadlines --------------------------------------------------------------------------------------------

void SessionState::sweep_later() {
  auto at = Clock::now() + std::clamp(parts_.options.stall_timeout / 4, shortest_sweep, longest_sweep);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : pending_) at = std::min(at, entry.second.deadline);
  }
  // Never put off: else requests with deadlines that come in fast would keep it from ever looking at the others.
  if (const auto set = sweep_timer_.expiry(); set > Clock::now() && set <= at) return;
  sweep_timer_.expires_at(at);
  sweep_timer_.async_wait([weak = weak_from_this()](boost::system::error_code failed) {
    if (failed) return;
    if (const auto self = weak.lock(); self && !self->is_closed()) self->sweep();
  });
}

Error SessionState::late(const Pending& request) const {
  if (request.own_deadline) return {Errc::DeadlineExceeded, "the request's deadline has passed"};
  return {Errc::WorkerUnresponsive, fmt::format("no answer within {} ms", parts_.options.request_timeout.count())};
}

void SessionState::sweep() {
  // A bell can be silenced by any worker that holds it: what it should have told is found here.
  finish(collect());
  if (is_closed()) return;
  bool listening = false;
  {
    const std::lock_guard lock(mutex_);
    listening = listening_;
  }
  if (listening && !bell_wait_.is_open()) listen();  // There was no descriptor for it.
  kill_stalled();
  if (is_closed()) return;
  prepare_standbys();
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      entry = entry->second.deadline <= now ? take(entry, late(entry->second), done) : std::next(entry);
    }
    place_waiting(done);  // What keeps a policy from choosing passes without a sign.
  }
  sweep_later();
  finish(done);
}

void SessionState::kill_stalled() {
  for (std::size_t stage = 0; stage < parts_.stages.size(); ++stage) {
    if (watches_[stage].ended || !is_stalled(stage)) continue;
    watches_[stage].ended = true;
    tell(SessionEvent::Kind::worker_stalled, stage,
         fmt::format("{} has requests and completed none for more than {} ms: it is killed",
                     parts_.stages[stage].worker->label(), parts_.options.stall_timeout.count()));
    if (is_closed()) return;
    parts_.stages[stage].worker->worker().give_up();
  }
}

/// Held back by its quota, a worker does not move either: that time does not count.
bool SessionState::is_stalled(std::size_t stage) {
  const StageWorker& worker = *parts_.stages[stage].worker;
  Watch& watch = watches_[stage];
  const auto stats = worker.counters().snapshot();
  if (!stats) return true;  // It has written nonsense over its own counters.
  const auto throttled = [&] {
    const auto usage = worker.node()->usage();
    return usage ? usage->throttled_time : std::chrono::microseconds{};
  };
  const auto now = Clock::now();
  const bool moved = stats->requests != watch.requests || stats->heartbeat_ns != watch.heartbeat_ns;
  // Some inputs are copied when they are read, and their slots are free while the segment runs.
  const bool has_work = stats->phase == ipc::WorkerPhase::busy || worker.incoming().held() > 0 || worker.is_asked();
  if (moved || !has_work) {
    watch.requests = stats->requests;
    watch.heartbeat_ns = stats->heartbeat_ns;
    watch.moved = now;
    watch.throttled = throttled();
    return false;
  }
  const double mean_us =
      stats->requests == 0 ? 0 : static_cast<double>(stats->busy_ns) / 1e3 / static_cast<double>(stats->requests);
  // The counters are the worker's word.
  const std::chrono::nanoseconds most = std::max(parts_.options.stall_timeout, parts_.options.request_timeout);
  const auto limit = std::min(stall_limit(parts_.options.stall_timeout, mean_us), most);
  const std::chrono::nanoseconds silent = now - watch.moved;
  if (silent < limit) return false;
  // The kernel adds up the CPUs and the workers that it holds back; a worker has its part of the quota all the same.
  const auto workers = static_cast<double>(std::max<std::size_t>(worker.node()->workers.count(), 1));
  const double longest_share = std::clamp(1 - worker.node()->spec().cpus.count / workers, 0.0, 0.95);
  const auto held_back = std::min<std::chrono::nanoseconds>(
      throttled() - watch.throttled, std::chrono::duration_cast<std::chrono::nanoseconds>(silent * longest_share));
  return silent - held_back >= limit;
}

}  // namespace amp4ec::detail
