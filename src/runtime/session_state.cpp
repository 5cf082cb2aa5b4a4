// SPDX-License-Identifier: Apache-2.0
#include "runtime/session_state.hpp"

#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <amp4ec/monitor/trace_writer.hpp>

#include <fmt/format.h>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <future>

#include <fcntl.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds sweep_interval{250};
constexpr unsigned session_bits = 40;  ///< Above them, a request's id in a trace is the number of its session.
std::atomic<std::uint64_t> sessions{0};

// Asio closes what it is given.
int duplicate(int fd) {
  return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/// All sessions share the runtime's thread: what the host's handler throws must not end it.
void deliver(const Session::Handler& handler, Result<Value> result) {
  try {
    handler(std::move(result));
  } catch (...) {
    // Session says so: dropped.
  }
}

bool visits(const Route& route, std::size_t worker) {
  return std::find(route.begin(), route.end(), worker) != route.end();
}

/// What a worker's message says.
Result<Value> read_result(const ipc::EdgeConsumer::Message& message, const Model& model) {
  if (message.descriptor().kind == ipc::MessageKind::error) {
    const auto text = message.payload();
    return parse_error(std::string(reinterpret_cast<const char*>(text.data()), text.size()));
  }
  auto values = decode_copy(message.payload());
  if (!values) return values.error();
  if (values->size() != 1) return Error{Errc::ProtocolViolation, "a result is not one value"};
  return model.check_answer(values->front());
}

}  // namespace

SessionState::SessionState(SessionParts parts)
    : parts_(std::move(parts)),
      trace_ids_(++sessions << session_bits),
      bell_wait_(*parts_.runtime->io),
      sweep_timer_(*parts_.runtime->io) {
  for (const auto& worker : parts_.workers) {
    WorkerState state;
    state.capacity = worker->node()->spec().cpus;
    state.cpu_available = state.capacity;
    state.memory_available = worker->node()->spec().memory;
    states_.push_back(state);
  }
  for (const Route& route : parts_.routes) {
    std::vector<const WorkerState*> workers;
    for (const std::uint8_t id : route) workers.push_back(&states_[id]);
    route_states_.push_back(std::move(workers));
  }
  for (const auto& workers : route_states_) candidates_.push_back({workers});
}

Result<void> SessionState::reload(std::size_t worker, const Segment& segment, std::chrono::nanoseconds timeout) {
  StageWorker& stage = *parts_.workers[worker];
  if (auto sent = stage.begin_load(segment, form()); !sent) return sent;
  return stage.finish_load(timeout);
}

Result<void> SessionState::start() {
  const auto watch = [](asio::posix::stream_descriptor& descriptor, int fd) -> Result<void> {
    const int own = duplicate(fd);
    boost::system::error_code failed;
    if (own >= 0) descriptor.assign(own, failed);
    if (own < 0 || failed)
      return Error{Errc::SystemCall, "cannot watch a descriptor: is the limit of open files reached?"};
    return {};
  };
  if (auto watched = watch(bell_wait_, parts_.bell.fd()); !watched) return watched;
  for (const auto& worker : parts_.workers) {
    auto& descriptor = death_waits_.emplace_back(*parts_.runtime->io);
    if (auto watched = watch(descriptor, worker->process().pidfd()); !watched) return watched;
  }
  samples_ = parts_.runtime->monitor->subscribe([weak = weak_from_this()](const Sample& sample) {
    if (const auto self = weak.lock()) self->on_sample(sample);
  });
  asio::dispatch(io(), [self = shared_from_this()] {
    self->listen();
    for (std::size_t worker = 0; worker < self->death_waits_.size(); ++worker) self->watch_for_death(worker);
    self->sweep_later();
  });
  return {};
}

// -- the way in ------------------------------------------------------------------------------------------------------

void SessionState::submit(const Values& inputs, Session::Handler handler, std::optional<std::size_t> fixed_route) {
  auto refused = admit(inputs, handler, fixed_route);
  if (!refused) return;
  asio::post(io(), [handler = std::move(handler), error = std::move(*refused)] { deliver(handler, error); });
}

/// Takes the handler when it admits; otherwise says why not.
std::optional<Error> SessionState::admit(const Values& inputs, Session::Handler& handler,
                                         std::optional<std::size_t> fixed_route) {
  auto checked = parts_.model.check_inputs(inputs);
  if (!checked) return checked.error();

  const std::lock_guard lock(mutex_);
  if (closed_) return Error{Errc::SessionClosed, "the session is closed"};
  if (pending_.size() >= parts_.max_in_flight) {
    return Error{Errc::Overloaded,
                 fmt::format("{} requests are in flight, the most that the session admits", parts_.max_in_flight)};
  }
  const auto route = fixed_route ? fixed_route : choose_route();
  if (!route) return why_no_route();
  const std::uint8_t first_worker = parts_.routes[*route].front();
  auto& producer = *parts_.ends[first_worker].inputs;
  auto slot = producer.try_acquire();
  if (!slot) {
    // What this worker wrote there cannot be trusted any more; its end takes the route out of the choice.
    parts_.workers[first_worker]->process().kill_now();
    return slot.error();
  }
  if (!*slot) return Error{Errc::Overloaded, "the first worker of the route holds all inputs that were sent to it"};
  auto length = encode(*checked, (*slot)->payload());
  if (!length) return length.error();

  const auto now = Clock::now();
  ipc::Descriptor descriptor;
  descriptor.request_id = next_request_++;
  descriptor.length = *length;
  descriptor.route_length = static_cast<std::uint8_t>(parts_.routes[*route].size());
  std::copy(parts_.routes[*route].begin(), parts_.routes[*route].end(), descriptor.route.begin());
  pending_.emplace(descriptor.request_id,
                   Pending{std::move(handler), *route, now, now + parts_.options.request_timeout});
  count_in_flight(*route, +1);
  // An error now means that the worker's bell is gone, and the worker with it: its death completes the request.
  (void)producer.publish(std::move(**slot), descriptor);
  return std::nullopt;
}

std::optional<std::size_t> SessionState::choose_route() {
  for (std::size_t id = 0; id < states_.size(); ++id) {
    const auto stats = parts_.workers[id]->counters().snapshot();
    if (!stats || stats->requests == 0) continue;
    states_[id].mean_service_us = static_cast<double>(stats->busy_ns) / 1e3 / static_cast<double>(stats->requests);
  }
  return parts_.policy->choose(candidates_);
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

void SessionState::on_sample(const Sample& sample) {
  const std::lock_guard lock(mutex_);
  for (std::size_t id = 0; id < states_.size(); ++id) {
    const NodeSpec node = parts_.workers[id]->node()->spec();
    if (node.name != sample.node || !sample.resources_known) continue;
    states_[id].cpu_available = Cpus{std::max(0.0, node.cpus.count - sample.cpu_used.count)};
    states_[id].memory_available = Bytes{node.memory.count - std::min(node.memory.count, sample.memory.count)};
    states_[id].load = std::min(1.0, sample.cpu_used.count / node.cpus.count);
  }
}

// -- the way out -----------------------------------------------------------------------------------------------------

// Handlers take hold of the session only when there is something to do: the last one to let go of it destroys it. And
// a handler of the host's may close it; nothing of `parts_` may be in use while one runs.

void SessionState::listen() {
  bell_wait_.async_wait(asio::posix::stream_descriptor::wait_read,
                        [weak = weak_from_this()](boost::system::error_code failed) {
                          if (failed) return;
                          const auto self = weak.lock();
                          if (!self || self->is_closed()) return;
                          const auto results = self->take_results();
                          self->listen();
                          self->complete_all(results);
                        });
}

std::vector<SessionState::Finished> SessionState::take_results() {
  (void)parts_.bell.drain();  // Before looking: what arrives after the look rings again.
  std::vector<Finished> finished;
  for (std::size_t id = 0; id < parts_.ends.size(); ++id) {
    auto& results = parts_.ends[id].results;
    // One that goes on writing must not keep us from everything else: the rest is for the next pass.
    for (std::size_t taken = 0; results; ++taken) {
      if (taken > parts_.max_in_flight) {
        (void)parts_.bell.signal();
        break;
      }
      auto received = results->try_receive();
      if (!received) {
        // What this worker writes cannot be trusted any more; its end completes its requests with an error.
        results.reset();
        parts_.workers[id]->process().kill_now();
        break;
      }
      auto& message = *received;
      if (!message) break;
      const std::uint64_t request = message->descriptor().request_id;
      auto result = read_result(*message, parts_.model);
      message.reset();  // The slot is free before its request ends: no worker ever waits for one.
      finished.push_back({request, static_cast<std::uint8_t>(id), std::move(result)});
    }
  }
  return finished;
}

void SessionState::complete_all(const std::vector<Finished>& all) {
  for (const Finished& finished : all) complete(finished);
}

void SessionState::complete(const Finished& finished) {
  std::optional<Done> done;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pending_.find(finished.request);
    if (found == pending_.end()) return;  // Timed out or failed before: it has had its one completion.
    const Route& route = parts_.routes[found->second.route];
    const bool theirs = finished.result ? route.back() == finished.worker : visits(route, finished.worker);
    if (!theirs) return;  // A worker that answers for others is not believed.
    count_in_flight(found->second.route, -1);
    done.emplace(Done{found->first, std::move(found->second)});
    pending_.erase(found);
  }
  trace(*done, finished.result ? std::string() : finished.result.error().what());
  deliver(done->entry.handler, finished.result);
}

/// Not under the mutex: a trace may wait for its disk.
void SessionState::trace(const Done& done, const std::string& error) const noexcept try {
  if (!parts_.options.trace) return;
  TraceWriter& trace = *parts_.options.trace;
  const std::uint64_t request = trace_ids_ + done.request;
  const auto now = Clock::now();
  const auto ns_of = [](Clock::time_point time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); };
  (void)trace.add(TraceRequest{request, done.entry.submitted, now, error});  // What is lost, `dropped` counts.
  const Route& route = parts_.routes[done.entry.route];
  for (std::size_t stage = 0; stage < route.size(); ++stage) {
    const StageWorker& worker = *parts_.workers[route[stage]];
    const auto execution = worker.counters().execution_of(done.request);
    // The worker's word: what does not lie within the request's stay is not believed.
    if (!execution || execution->begin_ns < ns_of(done.entry.submitted) || execution->end_ns < execution->begin_ns ||
        execution->end_ns > ns_of(now))
      continue;
    const auto time = [](std::uint64_t ns) { return Clock::time_point(std::chrono::nanoseconds(ns)); };
    (void)trace.add(TraceStage{worker.node()->name,
                               fmt::format("worker {}.{}", trace_ids_ >> session_bits, route[stage]),
                               fmt::format("layers {}-{}", worker.first_layer(), worker.last_layer()), request,
                               static_cast<std::uint32_t>(stage), static_cast<std::uint32_t>(route.size()),
                               time(execution->begin_ns), time(execution->end_ns)});
  }
} catch (...) {
  // No memory for an event: the request's completion matters more.
}

void SessionState::fail_matching(const std::function<bool(const Pending&)>& matches, const Error& error) {
  std::vector<Done> failed;
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      if (!matches(entry->second)) {
        ++entry;
        continue;
      }
      count_in_flight(entry->second.route, -1);
      failed.push_back({entry->first, std::move(entry->second)});
      entry = pending_.erase(entry);
    }
  }
  // A handler may close the session, and with it what the trace looks at.
  for (const Done& done : failed) trace(done, error.what());
  for (const Done& done : failed) deliver(done.entry.handler, error);
}

// -- what goes wrong -------------------------------------------------------------------------------------------------

void SessionState::watch_for_death(std::size_t worker) {
  death_waits_[worker].async_wait(asio::posix::stream_descriptor::wait_read,
                                  [weak = weak_from_this(), worker](boost::system::error_code failed) {
                                    if (failed) return;
                                    const auto self = weak.lock();
                                    if (self && !self->is_closed()) self->on_death(worker);
                                  });
}

void SessionState::on_death(std::size_t worker) {
  const auto finished = take_results();  // What it had finished counts.
  const Error reason = parts_.workers[worker]->reason_of_death();
  parts_.workers[worker]->leave_node();
  {
    const std::lock_guard lock(mutex_);
    states_[worker].alive = false;
    last_death_ = reason.message;
  }
  complete_all(finished);
  fail_matching([&](const Pending& request) { return visits(parts_.routes[request.route], worker); }, reason);
}

void SessionState::sweep_later() {
  sweep_timer_.expires_after(sweep_interval);
  sweep_timer_.async_wait([weak = weak_from_this()](boost::system::error_code failed) {
    if (failed) return;
    const auto self = weak.lock();
    if (!self || self->is_closed()) return;
    const auto now = Clock::now();
    self->sweep_later();
    self->fail_matching([&](const Pending& request) { return request.deadline < now; },
                        Error{Errc::WorkerUnresponsive,
                              fmt::format("no answer within {} ms", self->parts_.options.request_timeout.count())});
  });
}

bool SessionState::is_closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void SessionState::close() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  fail_matching([](const Pending&) { return true; }, Error{Errc::SessionClosed, "the session was closed"});
  samples_.reset();
  const auto stop_waiting = [this] {
    boost::system::error_code ignored;
    bell_wait_.close(ignored);
    for (auto& wait : death_waits_) wait.close(ignored);
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
  // Nothing looks at the workers any more; ending all of them before waiting for each takes the time of one.
  for (const auto& worker : parts_.workers) worker->process().kill_now();
  parts_.ends.clear();
  parts_.workers.clear();
}

std::vector<StageReport> SessionState::stages() const {
  const std::lock_guard lock(mutex_);
  std::vector<StageReport> reports;
  if (closed_) return reports;
  for (std::size_t id = 0; id < parts_.workers.size(); ++id) {
    StageWorker& worker = *parts_.workers[id];
    StageReport report;
    report.node = worker.node()->name;
    report.first_layer = worker.first_layer();
    report.last_layer = worker.last_layer();
    report.pid = worker.process().pid();
    report.alive = states_[id].alive;
    report.quota = worker.node()->spec().cpus;
    if (parts_.runtime->capabilities.memory_limits) report.memory_limit = worker.node()->spec().memory;
    if (const auto stats = worker.counters().snapshot()) {
      report.requests = stats->requests;
      report.busy = std::chrono::nanoseconds(stats->busy_ns);
      report.hop = std::chrono::nanoseconds(stats->hop_ns);
    }
    const ResidentMemory resident = resident_memory(report.pid);
    report.rss = resident.now;
    report.memory_peak = resident.peak;
    if (worker.group()) {
      if (const auto usage = worker.group()->read()) {
        report.cpu_time = usage->cpu_time;
        if (usage->memory_peak.count != 0) report.memory_peak = usage->memory_peak;
      }
      if (const auto usage = worker.node()->group->read()) report.throttled_time = usage->throttled_time;
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace amp4ec::detail
