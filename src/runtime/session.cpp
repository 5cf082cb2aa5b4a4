// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/session.hpp>

#include "runtime/session_state.hpp"

#include <future>

namespace amp4ec {

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

Result<Value> Session::infer(const Values& inputs) {
  std::promise<Result<Value>> promise;
  auto answer = promise.get_future();
  state_->submit(inputs, [&promise](Result<Value> result) { promise.set_value(std::move(result)); });
  return answer.get();
}

void Session::submit(detail::SessionState& state, const Values& inputs, Handler handler) {
  state.submit(inputs, std::move(handler));
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
