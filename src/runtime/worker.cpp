// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker.hpp"

#include "runtime/control_protocol.hpp"

#include <amp4ec/ipc/detail/poll_fd.hpp>

#include <fmt/format.h>

namespace amp4ec::detail {

Error Worker::died() {
  return {Errc::WorkerDied, fmt::format("{} {}", name(), describe_end(patience))};
}

Result<void> Worker::send(const boost::json::object& request, std::span<const int> fds) {
  auto sent = channel_.send(boost::json::serialize(request), fds);
  if (!sent && sent.error().code == Errc::WorkerDied) return died();
  return sent;
}

Result<boost::json::object> Worker::receive(std::chrono::nanoseconds timeout) {
  auto message = channel_.receive(timeout);
  if (!message) return message.error().code == Errc::WorkerDied ? died() : message.error();
  boost::system::error_code failed;
  auto answer = boost::json::parse(message->text, failed);
  if (failed || !answer.is_object()) return Error{Errc::ProtocolViolation, "a worker's answer is not a JSON object"};
  if (answer.get_object().contains("error")) return parse_error(message->text);
  return std::move(answer.get_object());
}

Result<boost::json::object> Worker::call(const boost::json::object& request, std::span<const int> fds,
                                         std::chrono::nanoseconds timeout) {
  if (auto sent = send(request, fds); !sent) return sent.error();
  return receive(timeout);
}

bool Worker::has_ended() const noexcept {
  const auto ended = ipc::detail::poll_fd(end_fd(), POLLIN, std::chrono::nanoseconds(0));
  return ended && *ended;
}

}  // namespace amp4ec::detail
