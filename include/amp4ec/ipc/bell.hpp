// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/detail/poll_fd.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <utility>

namespace amp4ec::ipc {

/// A doorbell between threads or processes: a pipe, opened for both directions so that it never breaks. Any number of
/// ringers, one that waits. It says "look again", never how often or why. All functions may be called from several
/// threads; none but `wait` blocks, whatever a peer does.
///
/// Why no eventfd: whether that blocks is a property of the open file, which its holders share, so a peer could make a
/// ring block for ever (clear O_NONBLOCK, fill the counter). A pipe is opened anew for each holder.
class Bell {
 public:
  /// Needs /proc. @error SystemCall.
  static Result<Bell> create() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return detail::system_error("pipe2");
    const UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    // One page is enough, and a user may have only so many. Where it cannot shrink, it is larger.
    (void)::fcntl(writer.get(), F_SETPIPE_SZ, static_cast<int>(capacity));
    auto fd = open_anew(writer.get());
    if (!fd) return fd.error();
    return Bell(std::move(*fd));
  }

  /// Takes a descriptor that came from `for_peer()` of another process's bell.
  static Bell adopt(UniqueFd fd) noexcept { return Bell(std::move(fd)); }

  /// The bell, opened for a peer that it is to be sent to: what the peer does to its own does not touch this one.
  /// @error SystemCall.
  [[nodiscard]] Result<UniqueFd> for_peer() const { return open_anew(fd_.get()); }

  /// The same bell under a second descriptor, for this process: each ringer owns one. @error SystemCall.
  [[nodiscard]] Result<Bell> duplicate() const {
    auto fd = fd_.duplicate();
    if (!fd) return fd.error();
    return Bell(std::move(*fd));
  }

  /// Rings. A bell that already rings stays so. @error SystemCall.
  Result<void> signal() const {
    const std::byte ring{1};
    // EAGAIN: full, so the bell rings already.
    while (::write(fd_.get(), &ring, sizeof ring) < 0 && errno != EAGAIN) {
      if (errno != EINTR) return detail::system_error("write to a bell");
    }
    return {};
  }

  /// Blocks until the bell rings, without silencing it. False after `timeout`. @error SystemCall.
  [[nodiscard]] Result<bool> wait(std::chrono::nanoseconds timeout) const {
    return detail::poll_fd(fd_.get(), POLLIN, timeout);
  }

  /// Silences the bell. True when it was ringing. @error SystemCall.
  Result<bool> drain() const {
    std::array<std::byte, capacity> rings;
    while (::read(fd_.get(), rings.data(), rings.size()) < 0) {
      if (errno == EAGAIN) return false;
      if (errno != EINTR) return detail::system_error("read from a bell");
    }
    return true;
  }

  /// For `poll` and, as a duplicate, `asio::posix::stream_descriptor`; not to be sent to a peer.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  static constexpr std::size_t capacity = 4096;

  explicit Bell(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  static Result<UniqueFd> open_anew(int fd) {
    const auto path = fmt::format("/proc/self/fd/{}", fd);
    UniqueFd opened(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!opened) return detail::system_error(fmt::format("opening {}, the pipe of a bell", path));
    return opened;
  }

  UniqueFd fd_;
};

}  // namespace amp4ec::ipc
