// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <ctime>

#include <pthread.h>

namespace amp4ec::ipc {

/// While it lives, what this thread writes beyond RLIMIT_FSIZE fails with EFBIG, and no more: the kernel's SIGXFSZ,
/// which would end the process, is taken back. Changes the signal mask of this thread only, until the end; must end on
/// the thread where it began. Nests.
class FileSizeGuard {
 public:
  FileSizeGuard() noexcept {
    // The kernel sends it to the thread that writes; one that waits already is somebody else's.
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGXFSZ) == 1;
    const sigset_t signals = only_ours();
    ::pthread_sigmask(SIG_BLOCK, &signals, &before_);
  }
  ~FileSizeGuard() {
    const sigset_t signals = only_ours();
    const timespec at_once{};
    while (!was_pending_ && ::sigtimedwait(&signals, nullptr, &at_once) == SIGXFSZ) continue;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  FileSizeGuard(const FileSizeGuard&) = delete;
  FileSizeGuard& operator=(const FileSizeGuard&) = delete;

 private:
  static sigset_t only_ours() noexcept {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGXFSZ);
    return signals;
  }

  sigset_t before_;
  bool was_pending_;
};

}  // namespace amp4ec::ipc
