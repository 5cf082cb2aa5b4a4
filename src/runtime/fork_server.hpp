// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/control_channel.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include <sys/types.h>

namespace amp4ec::detail {

/// How a process ended, from what wait says, e.g. "was killed by signal 9 (Killed)".
std::string how_it_ended(int status);

/// A process that has loaded LibTorch, never runs an operator, and forks workers: ten milliseconds instead of the most
/// of a second that an exec takes. OpenMP and BLAS read how many threads they may have when they load, so there is one
/// for each number of threads. It is this process's child; its workers are its own: it reaps them and passes on how
/// they ended. It ends with its host. Thread-safe.
class ForkServer {
 public:
  /// Starts nothing: the first worker does, and the first one after the server's death.
  ForkServer(std::filesystem::path executable, unsigned threads)
      : executable_(std::move(executable)), threads_(threads) {}
  ForkServer(const ForkServer&) = delete;
  ForkServer& operator=(const ForkServer&) = delete;
  /// Ends the server. Its workers live on, but nobody learns how they end.
  ~ForkServer();

  struct Child {
    pid_t pid;
    ipc::UniqueFd pidfd;
    ipc::UniqueFd status;  ///< Its end: what wait says, an `int`; nothing when the server has died before it.
    ipc::ControlChannel channel;
  };
  /// A new worker, which does nothing until its channel brings the first message. Blocks while another is forked.
  /// @error SystemCall, WorkerDied when the server cannot live, WorkerUnresponsive.
  Result<Child> fork_worker();

  /// The server's process; -1 when there is none.
  [[nodiscard]] pid_t pid() const;

 private:
  struct Process {
    pid_t pid;
    ipc::UniqueFd pidfd;
    ipc::ControlChannel channel;
  };
  Result<void> start();
  Result<Child> ask();
  std::string stop(std::chrono::milliseconds wait) noexcept;

  const std::filesystem::path executable_;
  const unsigned threads_;
  mutable std::mutex mutex_;
  std::optional<Process> process_;
};

/// The server's own loop. Returns in each worker that it forks, with the worker's channel; returns nothing in the
/// server when the host is gone. Only for a process that has run no operator.
std::optional<ipc::ControlChannel> serve_forks(ipc::ControlChannel host);

/// The descriptor of the host's channel if these arguments are those of a fork server, else -1.
int fork_server_channel(int argc, char** argv);

}  // namespace amp4ec::detail
