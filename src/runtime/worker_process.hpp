// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/control_channel.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <boost/json/object.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include <sys/types.h>

namespace amp4ec::detail {

/// Finds the worker executable: the given path, $AMP4EC_WORKER, beside this program, in ../libexec/amp4ec, or where
/// this build installs it. @error WorkerNotFound lists where it looked.
Result<std::filesystem::path> find_worker(const std::filesystem::path& wanted);

class WorkerProcess;
/// Makes a worker load the operator libraries that this process has loaded. Blocks until it has.
Result<void> teach_operators(WorkerProcess& worker);

/// Resident memory of a process. Zeros when it is gone.
struct ResidentMemory {
  Bytes now;
  Bytes peak;
  Bytes anonymous;  ///< Its own, without files: what its cgroup is charged with.
  Bytes data;       ///< Mapped as its own, used or not: what RLIMIT_DATA counts.
};
ResidentMemory resident_memory(pid_t process);

/// The host's side of one worker process. Move-only; the destructor ends the worker and reaps it.
/// Not thread-safe but for `pid` and `kill_now`.
class WorkerProcess {
 public:
  /// Starts the executable with so many threads for OpenMP and BLAS, which read their environment when they load.
  /// `before_exec` runs in the host while the child waits, so that the child joins its cgroup before it uses memory.
  /// @error WorkerNotFound, SystemCall, and what `before_exec` returns.
  static Result<WorkerProcess> start(const std::filesystem::path& executable, unsigned threads,
                                     const std::function<Result<void>(pid_t)>& before_exec);

  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&& other) noexcept;
  ~WorkerProcess();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Readable once the worker has ended.
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }

  /// Sends a request; `receive` takes its answer. Apart, so that several workers can load at once.
  Result<void> send(const boost::json::object& request, std::span<const int> fds = {});
  /// @error what the worker reports, WorkerDied with how it ended, WorkerUnresponsive after `timeout`.
  Result<boost::json::object> receive(std::chrono::nanoseconds timeout);
  Result<boost::json::object> call(const boost::json::object& request, std::span<const int> fds,
                                   std::chrono::nanoseconds timeout);

  void kill_now() const noexcept;

  /// How it ended, in words, e.g. "was killed by signal 9 (Killed)"; reaps it. Waits at most `timeout`.
  std::string describe_end(std::chrono::milliseconds timeout);

 private:
  WorkerProcess(pid_t pid, ipc::UniqueFd pidfd, ipc::ControlChannel channel)
      : pid_(pid), pidfd_(std::move(pidfd)), channel_(std::move(channel)) {}
  void stop() noexcept;

  pid_t pid_ = -1;
  ipc::UniqueFd pidfd_;
  ipc::ControlChannel channel_;
  std::string end_;  ///< Filled when reaped.
};

}  // namespace amp4ec::detail
