// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace amp4ec::cgroup::test {

/// A forked process that waits for `go`, then runs its work and exits with what it returns. Killed and reaped at the
/// end.
class Child {
 public:
  template <class Work>
  explicit Child(Work work) {
    int gate[2];
    if (::pipe(gate) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(gate[1]);
      char byte = 0;
      const bool open = ::read(gate[0], &byte, 1) == 1;
      ::_exit(open ? work() : 99);
    }
    ::close(gate[0]);
    gate_ = gate[1];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::close(gate_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      (void)wait();
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void go() const {
    if (::write(gate_, "g", 1) != 1) std::abort();
  }
  /// Blocks until it has ended; the status as waitpid gives it.
  int wait() {
    int status = 0;
    if (::waitpid(std::exchange(pid_, -1), &status, 0) < 0) std::abort();
    return status;
  }

 private:
  pid_t pid_ = -1;
  int gate_ = -1;
};

/// By which forked processes tell their parent how far they are.
class Signal {
 public:
  Signal() {
    if (::pipe(ends_) != 0) std::abort();
  }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  ~Signal() {
    for (const int end : ends_) ::close(end);
  }
  [[nodiscard]] bool give() const { return ::write(ends_[1], "s", 1) == 1; }
  /// Blocks until it has been given once more.
  void wait() const {
    char byte = 0;
    if (::read(ends_[0], &byte, 1) != 1) std::abort();
  }

 private:
  int ends_[2];
};

// Work for a child.

inline int spin() {
  for (std::atomic<unsigned> turns{0};;) ++turns;
  return 0;
}

inline int sleep_forever() {
  for (;;) ::pause();
  return 0;
}

/// Uses that much memory from now on. False when there is none to be had.
inline bool use_memory(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  std::memset(memory, 1, bytes);
  return true;
}

}  // namespace amp4ec::cgroup::test
