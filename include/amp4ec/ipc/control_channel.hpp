// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/detail/poll_fd.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::ipc {

/// What one side of a ControlChannel received. The descriptors are closed on exec.
struct ControlMessage {
  std::string text;
  std::vector<UniqueFd> fds;
};

/// Rare messages between two processes that carry descriptors: an AF_UNIX socket that keeps message boundaries.
/// The text's meaning is the caller's. Requests do not travel here: they use an Edge. One thread may send while another
/// receives; two senders or two receivers need a lock. Never raises SIGPIPE.
class ControlChannel {
 public:
  static constexpr std::size_t max_text = 64U * 1024U;
  static constexpr std::size_t max_fds = 16;

  /// Two connected ends, both closed on exec. @error SystemCall.
  static Result<std::pair<ControlChannel, ControlChannel>> create_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) {
      return detail::system_error("socketpair");
    }
    return std::pair{ControlChannel(UniqueFd(ends[0])), ControlChannel(UniqueFd(ends[1]))};
  }

  /// Takes an end that another process inherited or received. @error InvalidArgument if it is no SOCK_SEQPACKET socket.
  static Result<ControlChannel> adopt(UniqueFd fd) {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
      return Error{Errc::InvalidArgument,
                   fmt::format("descriptor {} is not the end of a control channel (SOCK_SEQPACKET)", fd.get())};
    }
    return ControlChannel(std::move(fd));
  }

  /// The same end under a second descriptor. @error SystemCall.
  [[nodiscard]] Result<ControlChannel> duplicate() const {
    auto fd = fd_.duplicate();
    if (!fd) return fd.error();
    return ControlChannel(std::move(*fd));
  }

  /// Sends one message; the descriptors stay the caller's. Blocks while the peer leaves its queue full, at most
  /// `timeout`.
  /// @error InvalidArgument for no text, more than max_text or more than max_fds; WorkerDied when the peer is gone;
  /// WorkerUnresponsive after `timeout`; SystemCall.
  Result<void> send(std::string_view text, std::span<const int> fds = {},
                    std::chrono::nanoseconds timeout = std::chrono::seconds{1}) const {
    if (text.empty() || text.size() > max_text || fds.size() > max_fds) {
      return Error{Errc::InvalidArgument,
                   fmt::format("control message of {} bytes and {} descriptors; allowed are 1 to {} and {}",
                               text.size(), fds.size(), max_text, max_fds)};
    }
    iovec part{const_cast<char*>(text.data()), text.size()};  // sendmsg does not write to it
    ControlBuffer control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.bytes.data();
      message.msg_controllen = CMSG_SPACE(fds.size_bytes());
      cmsghdr* head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    }
    while (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) return peer_gone();
      if (errno != EAGAIN) return detail::system_error("sendmsg on a control channel");
      const auto writable = detail::poll_fd(fd_.get(), POLLOUT, timeout);
      if (!writable) return writable.error();
      if (!*writable) return unresponsive("did not empty its control queue", timeout);
    }
    return {};
  }

  /// Takes the next message. @error WorkerUnresponsive when none comes within `timeout`; WorkerDied when the peer has
  /// closed its end and everything it sent is read; ProtocolViolation for a message past the limits, whose descriptors
  /// are closed; SystemCall.
  [[nodiscard]] Result<ControlMessage> receive(std::chrono::nanoseconds timeout) const {
    ControlMessage received;
    received.text.resize(max_text);
    iovec part{received.text.data(), received.text.size()};
    ControlBuffer control;
    msghdr message{};
    ssize_t size = -1;
    while (size < 0) {
      const auto readable = detail::poll_fd(fd_.get(), POLLIN, timeout);
      if (!readable) return readable.error();
      if (!*readable) return unresponsive("sent no control message", timeout);
      message = {};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.bytes.data();
      message.msg_controllen = control.bytes.size();
      size = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
      if (size >= 0 || errno == EINTR || errno == EAGAIN) continue;
      if (errno == ECONNRESET) return peer_gone();
      return detail::system_error("recvmsg on a control channel");
    }
    received.fds = take_fds(message);  // first, so that every path below closes them
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
      return Error{
          Errc::ProtocolViolation,
          fmt::format("control message cut off: a peer sent more than {} bytes or {} descriptors, or this process "
                      "has reached its limit of open files",
                      max_text, max_fds)};
    }
    if (size == 0) return peer_gone();  // an empty message cannot be told from the end, so nobody may send one
    received.text.resize(static_cast<std::size_t>(size));
    return received;
  }

  /// For Asio and for handing this end to a child.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  struct ControlBuffer {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(max_fds * sizeof(int))> bytes{};
  };

  explicit ControlChannel(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  static Error peer_gone() { return Error{Errc::WorkerDied, "the peer of a control channel has closed its end"}; }

  static Error unresponsive(std::string_view what, std::chrono::nanoseconds timeout) {
    return Error{Errc::WorkerUnresponsive, fmt::format("the peer {} within {} ms", what, timeout.count() / 1'000'000)};
  }

  static std::vector<UniqueFd> take_fds(msghdr& message) {
    std::vector<UniqueFd> fds;
    fds.reserve(max_fds);
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
        fds.emplace_back(fd);
      }
    }
    return fds;
  }

  UniqueFd fd_;
};

}  // namespace amp4ec::ipc
