// SPDX-License-Identifier: Apache-2.0
// How a session reads what its workers answer, and gives it to those who wait for it.
#include "runtime/session_state.hpp"

#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <amp4ec/ipc/wait_until.hpp>  // relax_cpu

#include <boost/asio/post.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

#include <poll.h>

namespace amp4ec::detail {

namespace asio = boost::asio;

namespace {

/// What a worker's message says.
Result<Value> read_answer(const ipc::EdgeConsumer::Message& message, const Model& model) {
  auto values = decode_copy(message.payload());
  if (!values) return values.error();
  if (values->size() != 1) return Error{Errc::ProtocolViolation, "a result is not one value"};
  return model.check_answer(values->front());
}

}  // namespace

// One thread at a time reads results and waits for their bell: a caller of `infer`, if there is one, which saves the
// wake-up of another thread; else the runtime's. On the runtime's, handlers take hold of the session only when there is
// something to do: the last one to let go of it destroys it. And a handler of the host's may close it; nothing of
// `parts_` may be in use while one runs.

void SessionState::listen() {
  if (is_closed()) return;
  // Without it, what the bell would tell the sweep finds, and tries again.
  if (!bell_wait_.is_open() && !assign_duplicate(bell_wait_, parts_.wiring.bell.fd())) return;
  bell_wait_.async_wait(asio::posix::stream_descriptor::wait_read,
                        [weak = weak_from_this()](boost::system::error_code failed) {
                          if (failed) return;
                          if (const auto self = weak.lock(); self && !self->is_closed()) self->on_bell();
                        });
}

void SessionState::on_bell() {
  const auto done = collect();
  bool goes_on = false;
  {
    const std::lock_guard lock(mutex_);
    goes_on = callers_.empty();
    if (!goes_on) {  // One of them reads from now on, and each ring would wake this thread as well.
      boost::system::error_code ignored;
      bell_wait_.close(ignored);
      listening_ = false;
      see_to_a_reader();
    }
  }
  if (goes_on) listen();
  finish(done);
}

/// Somebody reads results as long as requests are pending. `mutex_` is held.
void SessionState::see_to_a_reader() {
  if (listening_ || reader_ != nullptr || closed_) return;
  const auto next = std::ranges::find_if(callers_, [](const Caller* caller) { return !caller->answer; });
  if (next != callers_.end()) {
    (*next)->changed.notify_one();
  } else if (!pending_.empty()) {
    try {
      asio::post(io(), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->listen();
      });
      listening_ = true;
    } catch (const std::bad_alloc&) {
      // What nobody reads now, the sweep finds.
    }
  }
}

Result<Value> SessionState::infer(const Values& inputs, const RequestOptions& options,
                                  std::optional<std::size_t> fixed_route) {
  Caller caller;
  Receiver receiver(&caller);
  if (auto refused = admit(next_id(), inputs, options, receiver, fixed_route)) return std::move(*refused);
  std::unique_lock lock(mutex_);
  while (!caller.answer) {
    if (reader_ != nullptr) {
      caller.changed.wait(lock);
      continue;
    }
    reader_ = &caller;
    lock.unlock();
    if (!spin_for_results()) wait_as_reader();
    try {
      finish(collect());
    } catch (const std::exception&) {
      // No memory: as where that happens to the runtime's thread, which goes on as well.
    }
    lock.lock();
    reader_ = nullptr;
  }
  std::erase(callers_, &caller);
  see_to_a_reader();
  return std::move(*caller.answer);
}

/// Until a worker has something, or another thread the reader's answer. That has a bell of its own: others silence the
/// workers'.
void SessionState::wait_as_reader() {
  pollfd bells[2] = {{parts_.wiring.bell.fd(), POLLIN, 0}, {parts_.reader_bell.fd(), POLLIN, 0}};
  (void)::poll(bells, 2, -1);
  if (bells[1].revents != 0) (void)parts_.reader_bell.drain();
}

/// Looks for results for as long as the session wants. True when there are some.
bool SessionState::spin_for_results() {
  const auto start = Clock::now();
  while (Clock::now() - start < parts_.options.spin) {
    const std::lock_guard lock(results_mutex_);
    const auto has_some = [](const SessionStage& stage) { return stage.ends.results && stage.ends.results->pending(); };
    if (std::ranges::any_of(parts_.stages, has_some)) return true;
    ipc::detail::relax_cpu();
  }
  return false;
}

/// `results_mutex_` is held.
void SessionState::break_with(std::size_t stage, const Error& violation) {
  if (watches_[stage].violation.empty()) watches_[stage].violation = violation.message;
  parts_.stages[stage].ends.results.reset();
  parts_.stages[stage].worker->worker().kill_now();
}

/// `results_mutex_` is held.
std::vector<SessionState::Finished> SessionState::take_results() {
  (void)parts_.wiring.bell.drain();  // Before looking: what arrives after the look rings again.
  std::vector<Finished> finished;
  for (std::size_t id = 0; id < parts_.stages.size(); ++id) {
    auto& results = parts_.stages[id].ends.results;
    // One that goes on writing must not keep us from everything else: the rest is for the next pass.
    for (std::size_t taken = 0; results; ++taken) {
      if (taken > parts_.max_in_flight) {
        (void)parts_.wiring.bell.signal();
        break;
      }
      auto received = results->try_receive();
      if (!received) {
        break_with(id, received.error());
        break;
      }
      auto& message = *received;
      if (!message) break;
      const ipc::Descriptor descriptor = message->descriptor();
      Finished one{descriptor.request_id, descriptor.attempt, static_cast<std::uint8_t>(id), Value()};
      std::optional<std::uint8_t> accused;
      if (descriptor.kind == ipc::MessageKind::error) {
        const auto text = message->payload();
        auto report = parse_report({reinterpret_cast<const char*>(text.data()), text.size()});
        accused = report.peer;
        one.result = std::move(report.error);
      } else {
        one.result = read_answer(*message, parts_.model);
      }
      message.reset();  // The slot is free before its request ends: no worker ever waits for one.
      one.believed = one.result || one.result.error().code != Errc::ProtocolViolation;
      if (!one.believed) {
        break_with(id, one.result.error());
        // One of the two is at fault, and nobody can tell which.
        if (accused && parts_.wiring.are_neighbours(*accused, one.worker)) break_with(*accused, one.result.error());
      }
      finished.push_back(std::move(one));
    }
  }
  return finished;
}

/// What the workers have finished by now is no longer pending when this returns, and nothing for a handler is left of
/// it but on the runtime's thread, whose `close` comes after.
std::vector<SessionState::Done> SessionState::collect() {
  const std::lock_guard reading(results_mutex_);
  auto all = take_results();
  std::vector<Done> done;
  const std::lock_guard lock(mutex_);
  for (Finished& finished : all) {
    const auto entry = pending_.find(finished.request);
    // It has had its one completion; or it has been sent again, and this is an earlier attempt.
    if (entry == pending_.end() || !entry->second.route || entry->second.attempt != finished.attempt) continue;
    const Route& route = parts_.routes[*entry->second.route];
    const bool theirs = finished.result ? route.back() == finished.worker : visits(route, finished.worker);
    if (!theirs) continue;  // A worker that answers for others is not believed.
    // Who has said nonsense of it is killed for that, and the request sent again; but not for ever.
    if (!finished.believed && ++entry->second.killed < enough_deaths) continue;
    take(entry, std::move(finished.result), done);
  }
  place_waiting(done);
  if (!io().get_executor().running_in_this_thread()) {
    const auto is_caller = [](const Done& one) { return std::holds_alternative<Caller*>(one.entry.receiver); };
    const auto first = std::partition(done.begin(), done.end(), is_caller);  // Clang 14 fails on that of ranges.
    std::vector<Done> others(std::make_move_iterator(first), std::make_move_iterator(done.end()));
    done.erase(first, done.end());
    finish_on_runtime(std::move(others));
  }
  return done;
}

/// For those with handlers.
void SessionState::finish_on_runtime(std::vector<Done> done) {
  if (done.empty()) return;
  asio::post(io(), [weak = weak_from_this(), done = std::move(done)] {
    if (const auto self = weak.lock()) {
      self->finish(done);
    } else {
      for (const Done& one : done) call_handler(std::get<Session::Handler>(one.entry.receiver), one.result);
    }
  });
}

void SessionState::finish(const std::vector<Done>& done) {
  // All traces first: a handler may close the session, and with it what the trace looks at.
  if (!is_closed()) {
    for (const Done& one : done) trace(one);
  }
  for (const Done& one : done) deliver(one);
}

void SessionState::call_handler(const Session::Handler& handler, const Result<Value>& result) noexcept {
  try {
    handler(result);
  } catch (...) {
    // Session says so: dropped. All sessions share the runtime's thread, which must not end of it.
  }
}

void SessionState::deliver(const Done& done) {
  if (const auto* handler = std::get_if<Session::Handler>(&done.entry.receiver)) {
    return call_handler(*handler, done.result);
  }
  Caller& caller = *std::get<Caller*>(done.entry.receiver);
  const std::lock_guard lock(mutex_);
  caller.answer = done.result;
  caller.changed.notify_one();
  // It waits at the bells instead, unless it is the one who has read the answer.
  if (reader_ == &caller && caller.thread != std::this_thread::get_id()) (void)parts_.reader_bell.signal();
}

}  // namespace amp4ec::detail
