// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <cstdlib>
#include <utility>

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

}  // namespace amp4ec::cgroup::test
