// SPDX-License-Identifier: Apache-2.0
// How a session puts a new worker in the place of a dead one.
#include "runtime/control_protocol.hpp"
#include "runtime/session_state.hpp"

#include <fmt/format.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <utility>

namespace amp4ec::detail {

namespace asio = boost::asio;

namespace {

/// How long to wait before the next try, by how many in a row have died without completing a request.
constexpr std::array<std::chrono::milliseconds, 5> pauses{std::chrono::milliseconds(0), std::chrono::milliseconds(0),
                                                          std::chrono::milliseconds(50), std::chrono::milliseconds(200),
                                                          std::chrono::milliseconds(1000)};
constexpr std::chrono::seconds quarantine{30};
constexpr std::chrono::seconds pause_between_standbys{1};  ///< After one that could not be made.

std::size_t take_first(std::deque<std::size_t>& stages) {
  const std::size_t first = stages.front();
  stages.pop_front();
  return first;
}

}  // namespace

void SessionState::restart_later(std::size_t stage, bool fruitful) {
  Watch& watch = watches_[stage];
  watch.fruitless_deaths = fruitful ? 0 : watch.fruitless_deaths + 1;
  const bool too_many = watch.fruitless_deaths >= pauses.size();
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    quarantined_[stage] = too_many;
    place_waiting(done);  // Those who have nowhere to go now learn of it.
  }
  if (too_many) {
    tell(SessionEvent::Kind::worker_quarantined, stage,
         fmt::format("{} workers in a row died without a completed request; the next one is started in {} s",
                     watch.fruitless_deaths, quarantine.count()));
  }
  watch.restart.expires_after(too_many ? quarantine : pauses[watch.fruitless_deaths]);
  watch.restart.async_wait([weak = weak_from_this(), stage](boost::system::error_code failed) {
    if (failed) return;
    const auto self = weak.lock();
    if (!self || self->is_closed()) return;
    self->to_repair_.push_back(stage);
    self->begin_next_repair();
  });
  finish(done);
}

void SessionState::begin_next_repair() {
  if (making_) return;
  if (!to_repair_.empty()) {
    make(take_first(to_repair_), &SessionState::make_replacement, &SessionState::install);
  } else if (!to_prepare_.empty()) {
    const std::size_t stage = take_first(to_prepare_);
    watches_[stage].next_standby = Clock::time_point::max();  // Until this one is there, or cannot be made.
    make(stage, &SessionState::start_loaded, &SessionState::keep_standby);
  }
}

bool SessionState::do_elsewhere(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    ++done_elsewhere_;
  }
  // Without a hold on the session, which would make that thread the one that destroys it: `close` waits for the end.
  asio::post(parts_.runtime->helpers, [this, work = std::move(work)]() mutable {
    work();
    work = nullptr;  // And with it all that it holds.
    const std::lock_guard lock(mutex_);
    --done_elsewhere_;
    changed_.notify_all();
  });
  return true;
}

/// Has something for a stage made on a thread where that may take long, and `use`d on the runtime's.
template <class Made>
void SessionState::make(std::size_t stage, Result<Made> (SessionState::*maker)(std::size_t),
                        void (SessionState::*use)(std::size_t, Result<Made>)) {
  making_ = do_elsewhere([this, stage, maker, use] {
    auto made = std::make_shared<Result<Made>>((this->*maker)(stage));
    // Nothing of it stays here: the last to let go of a worker may be the last to let go of the runtime.
    asio::post(io(), [weak = weak_from_this(), stage, use, made = std::move(made)] {
      const auto self = weak.lock();
      if (!self || self->is_closed()) return;
      self->making_ = false;
      ((*self).*use)(stage, std::move(*made));
      if (!self->is_closed()) self->begin_next_repair();
    });
  });
}

class SessionState::InTheMaking {
 public:
  InTheMaking(SessionState& session, StageWorker& worker) : session_(session) {
    const std::lock_guard lock(session_.mutex_);
    if (session_.closed_) worker.worker().kill_now();
    session_.in_the_making_ = &worker;
  }
  ~InTheMaking() {
    const std::lock_guard lock(session_.mutex_);
    session_.in_the_making_ = nullptr;
  }
  InTheMaking(const InTheMaking&) = delete;
  InTheMaking& operator=(const InTheMaking&) = delete;

 private:
  SessionState& session_;
};

/// Blocks while the worker starts and loads.
Result<std::shared_ptr<StageWorker>> SessionState::start_loaded(std::size_t stage) try {
  auto started = StageWorker::start(*parts_.runtime, parts_.stages[stage].worker->node(),
                                    static_cast<std::uint8_t>(stage), parts_.options.workers, parts_.options.spin);
  if (!started) return started.error();
  const std::shared_ptr<StageWorker> worker = std::move(*started);
  const InTheMaking making(*this, *worker);
  if (auto sent = worker->begin_load(parts_.stages[stage].segment, form()); !sent) return sent.error();
  if (auto loaded = worker->finish_load(parts_.options.start_timeout); !loaded) return loaded.error();
  return worker;
} catch (const std::exception& failure) {
  return Error{Errc::SystemCall, fmt::format("cannot start another worker: {}", failure.what())};
}

/// Blocks, at the longest while a worker starts and loads. No worker is replaced meanwhile, so those of the other
/// stages may be used here; nobody else uses their control channels.
Result<SessionState::Replacement> SessionState::make_replacement(std::size_t stage) try {
  const auto id = static_cast<std::uint8_t>(stage);
  Replacement made;
  made.worker = take_standby(stage);
  if (!made.worker) {
    auto started = start_loaded(stage);
    if (!started) return started.error();
    made.worker = std::move(*started);
  }
  const InTheMaking making(*this, *made.worker);
  auto ends = parts_.wiring.connect_host(*made.worker);
  if (!ends) return ends.error();
  made.ends = std::move(*ends);
  for (const Wiring::Pair& pair : parts_.wiring.pairs) {
    if (pair.from != id && pair.to != id) continue;
    const std::uint8_t other_id = pair.from == id ? pair.to : pair.from;
    StageWorker& other = *parts_.stages[other_id].worker;
    const auto connected = pair.from == id ? parts_.wiring.connect(pair, *made.worker, other)
                                           : parts_.wiring.connect(pair, other, *made.worker);
    if (connected) continue;
    // Ours, or this process has no descriptors or memory left for an edge.
    if (made.worker->worker().has_ended() || connected.error().code == Errc::SystemCall) return connected.error();
    // The neighbour is at fault: it is dead, or is not worth its place. Who replaces it connects it with this one.
    other.worker().kill_now();
    made.unconnected.push_back(other_id);
  }
  return made;
} catch (const std::exception& failure) {
  return Error{Errc::SystemCall, fmt::format("cannot start another worker: {}", failure.what())};
}

/// Null when there is none that lives.
std::shared_ptr<StageWorker> SessionState::take_standby(std::size_t stage) {
  const std::lock_guard lock(mutex_);
  auto standby = std::move(standbys_[stage]);
  if (closed_ || !standby) return nullptr;
  if (standby->worker().has_ended()) {
    standby->leave_node();
    return nullptr;
  }
  return standby;
}

void SessionState::keep_standby(std::size_t stage, Result<std::shared_ptr<StageWorker>> made) {
  watches_[stage].next_standby = Clock::now() + pause_between_standbys;
  if (!made) return tell(SessionEvent::Kind::restart_failed, stage, "no standby: " + made.error().message);
  const std::lock_guard lock(mutex_);
  standbys_[stage] = std::move(*made);
}

/// For the stages that have none that lives.
void SessionState::prepare_standbys() {
  if (!parts_.options.warm_standby) return;
  std::vector<std::shared_ptr<StageWorker>> ended;
  {
    const std::lock_guard lock(mutex_);
    if (!repairs_) return;
    for (std::size_t stage = 0; stage < standbys_.size(); ++stage) {
      auto& standby = standbys_[stage];
      if (standby && standby->worker().has_ended()) {
        standby->leave_node();
        ended.push_back(std::move(standby));
        standby = nullptr;
      }
      const bool due = !standby && states_[stage].alive && Clock::now() >= watches_[stage].next_standby;
      if (due && std::ranges::find(to_prepare_, stage) == to_prepare_.end()) to_prepare_.push_back(stage);
    }
  }
  if (!ended.empty()) (void)do_elsewhere([ended = std::move(ended)] {});
  begin_next_repair();
}

void SessionState::install(std::size_t stage, Result<Replacement> made) {
  Watch& watch = watches_[stage];
  std::shared_ptr<StageWorker> old;
  Result<void> watched;
  if (made) watched = assign_duplicate(watch.death, made->worker->worker().end_fd());
  if (!made || !watched) {
    tell(SessionEvent::Kind::restart_failed, stage, (made ? watched.error() : made.error()).message);
    if (is_closed()) return;
    restart_later(stage, false);
    return;
  }
  StageReport past = with_past(stage);  // It reads files: not under the mutex.
  ++past.restarts;
  std::vector<Done> done;
  {
    const std::scoped_lock lock(results_mutex_, mutex_);
    SessionStage& place = parts_.stages[stage];
    past_[stage] = std::move(past);
    old = std::exchange(place.worker, std::move(made->worker));
    place.ends = std::move(made->ends);
    states_[stage].alive = true;
    for (const std::size_t other : made->unconnected) states_[other].alive = false;  // We may be the first to know.
    quarantined_[stage] = false;
    watch.violation.clear();
    place_waiting(done);
  }
  watch.requests = watch.heartbeat_ns = 0;
  watch.next_standby = {};
  wait_for_death(stage);
  (void)do_elsewhere([old = std::move(old)] {});  // Removing its group takes milliseconds.
  prepare_standbys();
  tell(SessionEvent::Kind::worker_restarted, stage, parts_.stages[stage].worker->label());
  finish(done);
}

}  // namespace amp4ec::detail
