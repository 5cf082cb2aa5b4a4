// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/detail/poll_fd.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <sys/eventfd.h>

#include <chrono>
#include <cstdint>
#include <utility>

namespace amp4ec::ipc {

/// A doorbell between threads or processes: an eventfd in non-blocking mode. Any number of ringers, one that waits.
/// It says "look again", never how often or why. All functions may be called from several threads.
class EventFd {
 public:
  /// @error SystemCall.
  static Result<EventFd> create() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return detail::system_error("eventfd");
    return EventFd(std::move(fd));
  }

  /// Takes a descriptor that came from `fd()` of another process's EventFd.
  static EventFd adopt(UniqueFd fd) noexcept { return EventFd(std::move(fd)); }

  /// The same bell under a second descriptor: each ringer owns one. @error SystemCall.
  [[nodiscard]] Result<EventFd> duplicate() const {
    auto fd = fd_.duplicate();
    if (!fd) return fd.error();
    return EventFd(std::move(*fd));
  }

  /// Rings. A bell that already rings stays so. Does not block. @error SystemCall.
  Result<void> signal() const {
    const std::uint64_t one = 1;
    // EAGAIN: the counter is at its maximum, so the bell rings already.
    while (::write(fd_.get(), &one, sizeof one) < 0 && errno != EAGAIN) {
      if (errno != EINTR) return detail::system_error("write to an eventfd");
    }
    return {};
  }

  /// Blocks until the bell rings, without silencing it. False after `timeout`. @error SystemCall.
  [[nodiscard]] Result<bool> wait(std::chrono::nanoseconds timeout) const {
    return detail::poll_fd(fd_.get(), POLLIN, timeout);
  }

  /// Silences the bell. True when it was ringing. Does not block. @error SystemCall.
  Result<bool> drain() const {
    std::uint64_t count = 0;
    while (::read(fd_.get(), &count, sizeof count) < 0) {
      if (errno == EAGAIN) return false;
      if (errno != EINTR) return detail::system_error("read from an eventfd");
    }
    return true;
  }

  /// For `asio::posix::stream_descriptor` (hand it a duplicate) and for sending through a ControlChannel.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  explicit EventFd(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace amp4ec::ipc
