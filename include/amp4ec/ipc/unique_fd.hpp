// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/detail/system_error.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace amp4ec::ipc {

/// Owns one file descriptor and closes it. Move-only; an empty one holds -1. Not synchronised.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Gives the descriptor away: the caller closes it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

  /// A second descriptor of the same open file, closed on exec. @error SystemCall.
  [[nodiscard]] Result<UniqueFd> duplicate() const {
    UniqueFd copy(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
    if (!copy) return detail::system_error("fcntl(F_DUPFD_CLOEXEC)");
    return copy;
  }

 private:
  int fd_ = -1;
};

}  // namespace amp4ec::ipc
