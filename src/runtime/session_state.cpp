// SPDX-License-Identifier: Apache-2.0
#include "runtime/session_state.hpp"

#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <fmt/format.h>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <future>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace asio = boost::asio;

namespace {

std::atomic<std::uint64_t> sessions{0};

/// Inputs that are larger than the session's example.
Result<std::size_t> encode_large(const Values& inputs, std::vector<std::byte>& into) try {
  auto size = encoded_size(inputs);
  if (!size) return size;
  into.resize(*size);
  return encode(inputs, into);
} catch (const std::bad_alloc&) {
  return Error{Errc::OutOfMemory, "no memory for the inputs of a request"};
}

/// A time that can be added to any other.
template <class Duration>
Duration bounded(Duration time) {
  constexpr std::chrono::hours year{24 * 365};
  return std::clamp<Duration>(time, Duration::zero(), year);
}

}  // namespace

Result<void> assign_duplicate(asio::posix::stream_descriptor& descriptor, int fd) {
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  boost::system::error_code failed;
  if (own >= 0) descriptor.assign(own, failed);
  if (own < 0 || failed) {
    if (own >= 0) ::close(own);
    return Error{Errc::SystemCall, "cannot watch a descriptor: is the limit of open files reached?"};
  }
  return {};
}

SessionState::SessionState(SessionParts parts)
    : parts_(std::move(parts)),
      trace_ids_(++sessions << session_bits),
      bell_wait_(*parts_.runtime->io),
      sweep_timer_(*parts_.runtime->io) {
  SessionOptions& options = parts_.options;
  options.request_timeout = bounded(options.request_timeout);
  options.start_timeout = bounded(options.start_timeout);
  options.stall_timeout = bounded(options.stall_timeout);
  options.spin = std::clamp(options.spin, std::chrono::microseconds(0), longest_spin);
  for (const SessionStage& stage : parts_.stages) {
    WorkerState state;
    state.capacity = stage.worker->node()->spec().cpus;
    state.cpu_available = state.capacity;
    state.memory_available = stage.worker->node()->spec().memory;
    states_.push_back(state);
    auto view = parts_.runtime->monitor->view(stage.worker->node()->name);
    views_.push_back(view ? std::move(*view) : NodeView());
    watches_.emplace_back(io());
  }
  quarantined_.resize(parts_.stages.size());
  standbys_.resize(parts_.stages.size());
  past_.resize(parts_.stages.size());
  for (const Route& route : parts_.routes) {
    std::vector<const WorkerState*> workers;
    for (const std::uint8_t id : route) workers.push_back(&states_[id]);
    route_states_.push_back(std::move(workers));
  }
  for (const auto& workers : route_states_) candidates_.push_back({workers});
}

Result<void> SessionState::reload(std::size_t stage, std::chrono::nanoseconds timeout) {
  StageWorker& worker = *parts_.stages[stage].worker;
  if (auto sent = worker.begin_load(parts_.stages[stage].segment, form()); !sent) return sent;
  return worker.finish_load(timeout);
}

Result<void> SessionState::learn_forms() {
  for (const SessionStage& stage : parts_.stages) {
    if (auto learnt = stage.worker->learn_form(); !learnt) return learnt;
  }
  return {};
}

Result<void> SessionState::start() {
  if (auto watched = assign_duplicate(bell_wait_, parts_.wiring.bell.fd()); !watched) return watched;
  for (std::size_t stage = 0; stage < parts_.stages.size(); ++stage) {
    if (auto watched = watch_for_death(stage); !watched) return watched;
  }
  asio::dispatch(io(), [self = shared_from_this()] {
    self->listen();
    for (std::size_t stage = 0; stage < self->watches_.size(); ++stage) self->wait_for_death(stage);
    self->sweep_later();
  });
  return {};
}

void SessionState::begin_repairs() {
  {
    const std::lock_guard lock(mutex_);
    repairs_ = true;
  }
  asio::post(io(), [weak = weak_from_this()] {
    const auto self = weak.lock();
    for (std::size_t stage = 0; self && !self->is_closed() && stage < self->watches_.size(); ++stage) {
      if (std::exchange(self->watches_[stage].left_dead, false)) self->restart_later(stage, false);
    }
    if (self && !self->is_closed()) self->prepare_standbys();
  });
}

std::uint64_t SessionState::next_id() {
  const std::lock_guard lock(mutex_);
  return next_request_++;
}

// -- the way in ------------------------------------------------------------------------------------------------------

void SessionState::submit(std::uint64_t id, const Values& inputs, const RequestOptions& options,
                          Session::Handler handler) {
  Receiver receiver(std::move(handler));
  auto refused = admit(id, inputs, options, receiver, std::nullopt);
  if (!refused) return;
  asio::post(io(), [handler = std::move(std::get<Session::Handler>(receiver)), error = std::move(*refused)] {
    call_handler(handler, error);
  });
}

Result<std::shared_ptr<const ipc::InputArena::Slot>> SessionState::reserve() {
  const std::lock_guard lock(mutex_);
  if (closed_ || draining_)
    return Error{Errc::SessionClosed, closed_ ? "the session is closed" : "the session is closing"};
  const std::size_t limit = parts_.max_in_flight + parts_.options.max_waiting;
  if (pending_.size() + arriving_ >= limit) {
    return Error{Errc::Overloaded, fmt::format("{} requests are in flight, the most that the session admits", limit)};
  }
  for (SessionStage& stage : parts_.stages) {
    if (stage.ends.inputs) stage.ends.inputs->collect();
  }
  auto slot = parts_.wiring.inputs.try_acquire();
  if (!slot) return Error{Errc::Overloaded, "workers still execute requests whose callers have given up"};
  ++arriving_;
  return slot;
}

/// Takes the receiver when it admits; otherwise says why not.
std::optional<Error> SessionState::admit(std::uint64_t id, const Values& inputs, const RequestOptions& options,
                                         Receiver& receiver, std::optional<std::size_t> fixed_route) {
  auto checked = parts_.model.check_inputs(inputs);
  if (!checked) return checked.error();
  auto slot = reserve();
  if (!slot) return slot.error();
  // Not under the mutex: the longest step of all.
  std::vector<std::byte> large;
  auto length = encode(*checked, (*slot)->payload());
  if (!length && length.error().code == Errc::MessageTooLarge) length = encode_large(*checked, large);

  const std::lock_guard lock(mutex_);
  --arriving_;
  changed_.notify_all();
  if (!length) return length.error();
  if (closed_) return Error{Errc::SessionClosed, "the session is closed"};
  Pending request;
  request.submitted = Clock::now();
  request.own_deadline = options.deadline.has_value();
  request.deadline = options.deadline.value_or(request.submitted + parts_.options.request_timeout);
  request.priority = options.priority;
  request.input = std::move(*slot);
  request.input_length = *length;
  request.large_input = std::move(large);
  request.fixed_route = fixed_route;
  if (request.deadline <= request.submitted) return late(request);
  // Those that wait have come before.
  const Placed placed = waiting_.empty() ? place(id, request) : Placed::must_wait;
  if (placed == Placed::nowhere) return why_no_route();
  if (placed == Placed::must_wait) waiting_.emplace(-request.priority, id);
  callers_.reserve(callers_.size() + 1);
  auto* const caller = std::get_if<Caller*>(&receiver);
  if (caller != nullptr) {
    request.receiver = *caller;
  } else {
    request.receiver = std::move(receiver);
  }
  const bool own_deadline = request.own_deadline;
  pending_.emplace(id, std::move(request));
  if (caller != nullptr) callers_.push_back(*caller);
  see_to_a_reader();
  if (own_deadline) try {  // The timer may be set for later.
      asio::post(io(), [weak = weak_from_this()] {
        if (const auto self = weak.lock(); self && !self->is_closed()) self->sweep_later();
      });
    } catch (const std::bad_alloc&) {
      // The request is pending: it ends by the next sweep instead.
    }
  return std::nullopt;
}

/// Sends a request to the first worker of a route. `mutex_` is held.
SessionState::Placed SessionState::place(std::uint64_t id, Pending& request) {
  if (under_way_ >= parts_.max_in_flight) return Placed::must_wait;
  const auto is_alive = [](const WorkerState* worker) { return worker->alive; };
  std::optional<std::size_t> route = request.fixed_route;
  if (!route) route = choose_route();
  if (!route || !std::ranges::all_of(route_states_[*route], is_alive)) {
    // One that was under way has been promised an answer: it waits for whatever keeps the policy from choosing.
    const bool any_alive =
        std::ranges::any_of(route_states_, [&](const auto& workers) { return std::ranges::all_of(workers, is_alive); });
    return may_come_back() || (any_alive && request.attempt > 0) ? Placed::must_wait : Placed::nowhere;
  }
  const Route& workers = parts_.routes[*route];
  SessionStage& first = parts_.stages[workers.front()];
  auto slot = first.ends.inputs->try_acquire();
  // What this worker wrote there cannot be trusted any more; its end takes the route out of the choice.
  if (!slot) first.worker->worker().kill_now();
  if (!slot || !*slot) return Placed::must_wait;

  ipc::Descriptor descriptor;
  descriptor.request_id = id;
  descriptor.attempt = request.attempt;
  if (request.large_input.empty()) {
    descriptor.kind = ipc::MessageKind::input;
    descriptor.input_slot = request.input->number();
    descriptor.input_length = request.input_length;
  } else {
    if (!(*slot)->reserve(Bytes{request.large_input.size()})) return Placed::must_wait;  // No memory now.
    std::ranges::copy(request.large_input, (*slot)->payload().begin());
    descriptor.length = request.large_input.size();
  }
  descriptor.route_length = static_cast<std::uint8_t>(workers.size());
  std::copy(workers.begin(), workers.end(), descriptor.route.begin());
  request.route = route;
  count_in_flight(*route, +1);
  ++under_way_;
  if (first.ends.inputs->publish(std::move(**slot), descriptor, {}, request.input)) return Placed::sent;
  // A file of its own that could not go, since the worker has left too many unread or has died.
  count_in_flight(*route, -1);
  --under_way_;
  request.route.reset();
  return Placed::must_wait;
}

void SessionState::place_waiting(std::vector<Done>& done) {
  for (auto turn = waiting_.begin(); turn != waiting_.end() && under_way_ < parts_.max_in_flight;) {
    const auto entry = pending_.find(turn->second);
    const Placed placed = place(entry->first, entry->second);
    ++turn;  // `take` removes the one in hand.
    if (placed == Placed::sent) waiting_.erase(std::prev(turn));
    if (placed == Placed::nowhere) take(entry, why_no_route(), done);
  }
}

/// Its next attempt is another one, wherever it has come to.
void SessionState::leave_route(Pending& request) {
  count_in_flight(*request.route, -1);
  --under_way_;
  request.route.reset();
  ++request.attempt;
}

/// Ends a request's stay; its handler is called by `finish`. `mutex_` is held.
SessionState::PendingMap::iterator SessionState::take(PendingMap::iterator entry, Result<Value> result,
                                                      std::vector<Done>& done) {
  Pending& request = entry->second;
  if (request.route) {
    count_in_flight(*request.route, -1);
    --under_way_;
  } else {
    waiting_.erase({-request.priority, entry->first});
  }
  request.input.reset();  // Before its caller can send the next one.
  done.push_back({entry->first, std::move(request), std::move(result)});
  changed_.notify_all();
  return pending_.erase(entry);
}

void SessionState::cancel(std::uint64_t id) {
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = pending_.find(id);
    if (entry == pending_.end()) return;
    take(entry, Error{Errc::Cancelled, "the request was cancelled"}, done);
    place_waiting(done);
  }
  finish_on_runtime(std::move(done));
}

std::optional<std::size_t> SessionState::choose_route() {
  for (std::size_t id = 0; id < states_.size(); ++id) {
    const auto stats = parts_.stages[id].worker->counters().snapshot();
    WorkerState& state = states_[id];
    if (stats && stats->requests > 0) {
      state.mean_service_us = static_cast<double>(stats->busy_ns) / 1e3 / static_cast<double>(stats->requests);
    }
    const auto node = views_[id].load();
    if (!node || !node->resources_known || node->cpu_quota.count <= 0) continue;
    state.capacity = node->cpu_quota;
    state.cpu_available = Cpus{std::max(0.0, node->cpu_quota.count - node->cpu_used.count)};
    state.memory_available = Bytes{node->memory_limit.count - std::min(node->memory_limit.count, node->memory.count)};
    state.load = std::min(1.0, node->cpu_used.count / node->cpu_quota.count);
  }
  return parts_.policy->choose(candidates_);
}

/// Whether a route that cannot be taken now will be, without anybody's doing.
bool SessionState::may_come_back() const {
  return repairs_ && std::ranges::any_of(parts_.routes, [&](const Route& route) {
           const bool dead = std::ranges::any_of(route, [&](std::uint8_t id) { return !states_[id].alive; });
           return dead && std::ranges::none_of(route, [&](std::uint8_t id) { return quarantined_[id]; });
         });
}

Error SessionState::why_no_route() const {
  std::string reasons;
  for (const Candidate& candidate : candidates_) {
    const SkipReason reason = parts_.policy->judge(candidate).skip;
    if (reason == SkipReason::dead) continue;
    const std::string_view text = to_string(reason);
    if (reasons.find(text) == std::string::npos) reasons += fmt::format("{}{}", reasons.empty() ? "" : ", ", text);
  }
  if (reasons.empty()) return {Errc::NoRoute, "no pipeline is left whose workers are all alive: " + last_death_};
  return {Errc::NoRoute, fmt::format("the policy '{}' takes none of the pipelines that are alive: {}; wait, or use "
                                     "another policy",
                                     parts_.policy->name(), reasons)};
}

void SessionState::count_in_flight(std::size_t route, int change) {
  for (const std::uint8_t id : parts_.routes[route]) states_[id].in_flight += static_cast<std::uint32_t>(change);
}

// -- the end ---------------------------------------------------------------------------------------------------------

Result<void> SessionState::drain(std::chrono::nanoseconds timeout) {
  if (io().get_executor().running_in_this_thread()) {
    return Error{Errc::NotSupported, "drain would wait, on the runtime's own thread, for what that thread has to do"};
  }
  bool empty = false;
  {
    std::unique_lock lock(mutex_);
    draining_ = true;
    empty = changed_.wait_for(lock, bounded(timeout), [&] { return closed_ || (pending_.empty() && arriving_ == 0); });
  }
  close();
  if (empty) return {};
  return Error{Errc::WorkerUnresponsive, "requests were still under way when the time to drain was over"};
}

bool SessionState::is_closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void SessionState::close() {
  std::vector<Done> done;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      entry = take(entry, Error{Errc::SessionClosed, "the session was closed"}, done);
    }
    // Nobody is waited for any more: not by us, nor by a helper that makes or connects one.
    for (const SessionStage& stage : parts_.stages) stage.worker->worker().kill_now();
    for (const auto& standby : standbys_) {
      if (standby) standby->worker().kill_now();
    }
    if (in_the_making_ != nullptr) in_the_making_->worker().kill_now();
    changed_.wait(lock, [&] { return done_elsewhere_ == 0; });
  }
  const auto stop_waiting = [this] {
    boost::system::error_code ignored;
    bell_wait_.close(ignored);
    for (Watch& watch : watches_) {
      watch.death.close(ignored);
      watch.restart.cancel();
    }
    sweep_timer_.cancel();
  };
  if (io().get_executor().running_in_this_thread()) {
    stop_waiting();
  } else {
    std::promise<void> stopped;
    asio::post(io(), [&] {
      stop_waiting();
      stopped.set_value();
    });
    stopped.get_future().wait();
  }
  // The runtime's thread is past whatever it did with the workers.
  for (const Done& one : done) trace(one);
  for (const Done& one : done) deliver(one);
  std::vector<SessionStage> stages;  // They end without the mutexes, and after a caller that may be reading results.
  {
    const std::scoped_lock lock(results_mutex_, mutex_);
    stages.swap(parts_.stages);
  }
  standbys_.clear();
}

}  // namespace amp4ec::detail
