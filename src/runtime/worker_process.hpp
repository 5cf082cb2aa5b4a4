// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/fork_server.hpp"
#include "runtime/worker.hpp"

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/unique_fd.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <sys/types.h>

namespace amp4ec::detail {

/// From now on this program itself is the worker executable, unless another is named.
void host_can_be_worker() noexcept;

/// Finds the worker executable: the given path, $AMP4EC_WORKER, this program where it can be one, beside this program,
/// in ../libexec/amp4ec, or where this build installs it. @error WorkerNotFound lists where it looked.
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

/// A worker in a process of its own. The destructor waits until it has ended.
class WorkerProcess final : public Worker {
 public:
  /// Has a worker forked. `before_start` runs in the host while the worker waits, so that it joins its cgroup before it
  /// uses memory. @error as ForkServer::fork_worker, and what `before_start` returns.
  static Result<WorkerProcess> start(ForkServer& server, const std::function<Result<void>(pid_t)>& before_start);

  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&& other) noexcept;
  ~WorkerProcess() override;

  [[nodiscard]] pid_t pid() const noexcept override { return pid_; }
  [[nodiscard]] std::string name() const override;
  [[nodiscard]] int end_fd() const noexcept override { return pidfd_.get(); }
  void kill_now() const noexcept override;
  std::string describe_end(std::chrono::milliseconds timeout) override;

 private:
  explicit WorkerProcess(ForkServer::Child child)
      : Worker(std::move(child.channel)),
        pid_(child.pid),
        pidfd_(std::move(child.pidfd)),
        status_(std::move(child.status)) {}
  void stop() noexcept;

  pid_t pid_ = -1;
  ipc::UniqueFd pidfd_;
  ipc::UniqueFd status_;  ///< See ForkServer::Child.
  std::unique_ptr<std::mutex> end_mutex_ = std::make_unique<std::mutex>();
  std::string end_;  ///< Guarded; filled when it has ended.
};

}  // namespace amp4ec::detail
