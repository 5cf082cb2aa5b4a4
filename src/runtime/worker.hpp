// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/control_channel.hpp>

#include <boost/json/object.hpp>

#include <chrono>
#include <memory>
#include <span>
#include <string>

#include <sys/types.h>

namespace amp4ec::detail {

/// The host's side of one worker, in a process of its own or on a thread of this one. The destructor ends it.
/// Not thread-safe but for `pid`, `kill_now`, `has_ended` and `describe_end`.
class Worker {
 public:
  virtual ~Worker() = default;

  /// Sends a request; `receive` takes its answer. Apart, so that several workers can load at once.
  Result<void> send(const boost::json::object& request, std::span<const int> fds = {});
  /// @error what the worker reports, WorkerDied with how it ended, WorkerUnresponsive after `timeout`.
  Result<boost::json::object> receive(std::chrono::nanoseconds timeout);
  Result<boost::json::object> call(const boost::json::object& request, std::span<const int> fds,
                                   std::chrono::nanoseconds timeout);

  /// The process that it runs in.
  [[nodiscard]] virtual pid_t pid() const noexcept = 0;
  /// For a person, e.g. "process 4711".
  [[nodiscard]] virtual std::string name() const = 0;
  /// Readable once the worker has ended.
  [[nodiscard]] virtual int end_fd() const noexcept = 0;
  /// From now on nothing that it does counts. Does not wait for its end.
  virtual void kill_now() const noexcept = 0;
  /// The same for one that is stuck: nobody waits for its end later.
  virtual void give_up() noexcept { kill_now(); }
  /// What it may still use after it was given up.
  virtual void keep_until_end(std::shared_ptr<void> /*what*/) {}
  /// How it ended, in words, e.g. "was killed by signal 9 (Killed)". Waits at most `timeout` for its end.
  virtual std::string describe_end(std::chrono::milliseconds timeout) = 0;

  [[nodiscard]] bool has_ended() const noexcept;

 protected:
  explicit Worker(ipc::ControlChannel channel) noexcept : channel_(std::move(channel)) {}
  Worker(Worker&&) noexcept = default;
  Worker& operator=(Worker&&) noexcept = default;

  static constexpr std::chrono::milliseconds patience{1000};  ///< For one that is asked to end.

  ipc::ControlChannel channel_;

 private:
  Error died();
};

}  // namespace amp4ec::detail
