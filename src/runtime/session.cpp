// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/session.hpp>

#include "runtime/session_state.hpp"

#include <fmt/format.h>

namespace amp4ec {

std::string_view to_string(SessionEvent::Kind kind) noexcept {
  switch (kind) {
    case SessionEvent::Kind::worker_died: return "worker died";
    case SessionEvent::Kind::worker_stalled: return "worker stalled";
    case SessionEvent::Kind::worker_restarted: return "worker restarted";
    case SessionEvent::Kind::restart_failed: return "restart failed";
    case SessionEvent::Kind::worker_quarantined: return "worker quarantined";
  }
  return "unknown";
}

std::string_view to_string(WorkerKind kind) noexcept {
  return kind == WorkerKind::thread ? "thread" : "process";
}

Result<WorkerKind> parse_worker_kind(std::string_view text) {
  if (text == "process") return WorkerKind::process;
  if (text == "thread") return WorkerKind::thread;
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not a kind of worker; use process or thread", text)};
}

Session::Session(std::shared_ptr<detail::SessionState> state) noexcept : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;

Session& Session::operator=(Session&& other) noexcept {
  if (this != &other) {
    if (state_) state_->close();
    state_ = std::move(other.state_);
  }
  return *this;
}

Session::~Session() {
  if (state_) state_->close();
}

Result<Value> Session::infer(const Values& inputs, const RequestOptions& options) {
  if (state_->io().get_executor().running_in_this_thread()) {
    return Error{Errc::NotSupported, "infer would wait, on the runtime's own thread, for what that thread has to do"};
  }
  const auto state = state_;  // The session may end meanwhile.
  return state->infer(inputs, options);
}

std::uint64_t Session::next_id(detail::SessionState& state) {
  return state.next_id();
}

void Session::submit(detail::SessionState& state, std::uint64_t id, const Values& inputs, const RequestOptions& options,
                     Handler handler) {
  state.submit(id, inputs, options, std::move(handler));
}

void Session::cancel(detail::SessionState& state, std::uint64_t id) {
  state.cancel(id);
}

Result<void> Session::drain(std::chrono::nanoseconds timeout) {
  return state_->drain(timeout);
}

boost::asio::any_io_executor Session::executor_of(detail::SessionState& state) {
  return state.io().get_executor();
}

std::size_t Session::max_in_flight() const noexcept {
  return state_->max_in_flight();
}

Form Session::form() const noexcept {
  return state_->form();
}

std::vector<StageReport> Session::stages() const {
  return state_->stages();
}

void Session::close() {
  state_->close();
}

}  // namespace amp4ec
