// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/detail/system_error.hpp>

#include <poll.h>

#include <algorithm>
#include <chrono>

namespace amp4ec::ipc::detail {

/// Waits until `fd` has one of `events`, an error or a hang-up; false after `timeout`. A signal does not shorten the
/// wait.
inline Result<bool> poll_fd(int fd, short events, std::chrono::nanoseconds timeout) {
  using namespace std::chrono;
  const bool bounded = timeout != forever;
  const auto start = steady_clock::now();
  for (;;) {
    const nanoseconds left = bounded ? std::max(timeout - (steady_clock::now() - start), nanoseconds{0}) : forever;
    timespec wait{};
    wait.tv_sec = duration_cast<seconds>(left).count();
    wait.tv_nsec = (left % seconds{1}).count();
    pollfd entry{fd, events, 0};
    const int ready = ::ppoll(&entry, 1, bounded ? &wait : nullptr, nullptr);
    if (ready > 0) {
      if ((entry.revents & POLLNVAL) != 0) return system_error("ppoll", EBADF);
      return true;
    }
    if (ready == 0) return false;
    if (errno != EINTR) return system_error("ppoll");
  }
}

}  // namespace amp4ec::ipc::detail
