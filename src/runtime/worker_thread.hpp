// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/worker.hpp"

#include <functional>
#include <memory>
#include <thread>

namespace amp4ec::detail {

/// A worker on a thread of this process. What the model throws ends at the request; a model that crashes ends the
/// process, and one that never returns cannot be ended at all: it is given up, and its thread left to itself.
class WorkerThread final : public Worker {
 public:
  /// `operator_threads`: how many threads one of its operators may use. `before_start` runs on the thread before it
  /// does anything else, e.g. to join a group. @error SystemCall, and what `before_start` returns.
  static Result<std::unique_ptr<WorkerThread>> start(unsigned operator_threads,
                                                     const std::function<Result<void>(pid_t thread)>& before_start);

  /// Waits for the end of the request in hand, but not for ever.
  ~WorkerThread() override;

  [[nodiscard]] pid_t pid() const noexcept override;
  [[nodiscard]] std::string name() const override;
  [[nodiscard]] int end_fd() const noexcept override;
  void kill_now() const noexcept override;
  void give_up() noexcept override;
  void keep_until_end(std::shared_ptr<void> what) override;
  std::string describe_end(std::chrono::milliseconds timeout) override;

 private:
  struct State;
  WorkerThread(ipc::ControlChannel channel, std::shared_ptr<State> state, std::thread thread, pid_t id) noexcept;

  std::shared_ptr<State> state_;  ///< Shared with the thread, which may outlive this.
  std::thread thread_;
  pid_t id_;
  bool given_up_ = false;
};

}  // namespace amp4ec::detail
