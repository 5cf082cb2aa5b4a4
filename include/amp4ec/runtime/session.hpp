// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/model/value.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace amp4ec {

class TraceWriter;

/// What has happened to a worker of a session.
struct SessionEvent {
  enum class Kind {
    worker_died,         ///< Its requests are sent again, or have failed.
    worker_stalled,      ///< It is killed.
    worker_restarted,    ///< Another has taken its place.
    restart_failed,      ///< It is tried again.
    worker_quarantined,  ///< Several died in its place one after the other, without a completed request. Tried again
                         ///< later.
  };
  Kind kind;
  std::size_t stage = 0;  ///< Index in `Session::stages`.
  std::string node;
  std::string what;  ///< A sentence for a person.
  std::chrono::steady_clock::time_point time;
};

[[nodiscard]] std::string_view to_string(SessionEvent::Kind kind) noexcept;

/// Where the stages of a session execute.
enum class WorkerKind {
  /// A process for each stage. Whatever a model does, the host lives on.
  process,
  /// A thread of this process for each stage. It starts in milliseconds and shares this process's memory and libraries,
  /// but a model that crashes takes the host with it, one that never returns keeps its thread, and only its CPU time
  /// can be limited (`Capabilities::thread_groups`). The kernel holds the threads of a node and its worker processes
  /// apart: each within the node's quota.
  thread,
};
[[nodiscard]] std::string_view to_string(WorkerKind kind) noexcept;
/// @error InvalidArgument.
[[nodiscard]] Result<WorkerKind> parse_worker_kind(std::string_view text);

/// What a caller wants of one request.
struct RequestOptions {
  std::optional<std::chrono::steady_clock::time_point> deadline{};  ///< Past it, DeadlineExceeded. Else the session's.
  int priority = 0;  ///< Of requests that wait, the highest goes first; of equals the one that came first.
};

struct SessionOptions {
  WorkerKind workers = WorkerKind::process;
  Form form = Form::Optimized;                        ///< Plain where that is off by more than optimized_tolerance().
  std::string policy = "shortest-completion";         ///< One of `policy_names`: how the Scheduler picks a route.
  std::size_t max_in_flight = 0;                      ///< Requests admitted at once; 0: enough to keep the plan full.
  std::chrono::milliseconds request_timeout{60'000};  ///< A request without an answer for so long fails.
  std::chrono::milliseconds start_timeout{120'000};   ///< For all workers to load, together.
  std::size_t max_waiting = 0;  ///< Requests admitted beyond those in flight; they wait in the order of their priority.
  /// A worker that has requests and completes none for so long, its node's throttling not counted, is taken for stuck:
  /// it is killed, replaced, and its requests are sent again. 20 times its mean service time is waited at least, up to
  /// `request_timeout`; see `stall_limit`.
  std::chrono::milliseconds stall_timeout{10'000};
  /// How long a worker looks for its next message, and a caller of `infer` for its answer, before it sleeps; 10 ms at
  /// the most. Saves a wake-up (15 us between CPUs, 40 to 120 where one has slept for long) and burns a CPU meanwhile,
  /// a worker that of its node's quota: for nodes and hosts with CPUs to spare.
  std::chrono::microseconds spin{0};
  /// Keeps for each stage a second worker, started and loaded, that takes the place of one that dies. It waits within
  /// the same node's limits: give the node the memory of both.
  bool warm_standby = false;
  /// Told of what happens to the workers; on the runtime's thread, so do not block. What it throws is dropped. It may
  /// close the session.
  std::function<void(const SessionEvent&)> on_event;
  /// Largest difference from the unsplit model that is accepted when the session opens, relative to the largest
  /// element of the answer. Models that draw random numbers are not compared.
  double tolerance = 1e-4;

  /// Where each request and its stages are written when it is complete; several sessions may share one. Empty: nowhere.
  /// A trace that cannot be written fails no request: ask `TraceWriter::dropped` after closing it.
  std::shared_ptr<TraceWriter> trace;

  /// The same for the optimised form: other inputs may differ more than the example.
  [[nodiscard]] double optimized_tolerance() const noexcept { return tolerance / 2; }
};

/// One stage of a session: what it is and what it has done since the session opened.
struct StageReport {
  std::string node;
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  pid_t pid = -1;  ///< The process that its worker runs in.
  bool alive = false;
  bool has_standby = false;  ///< A loaded worker waits to take its place.
  std::size_t restarts = 0;  ///< Workers that took the place of a dead one.
  Cpus quota;
  bool quota_binds = false;  ///< The kernel holds the worker to it.
  Bytes memory_limit;        ///< Of the node; 0 where none binds, as for threads.
  std::uint64_t requests = 0;
  std::chrono::nanoseconds busy{};       ///< Sum of service times: receipt of a message to hand-over of the result.
  std::chrono::nanoseconds hop{};        ///< Sum of times from a message's hand-over to its receipt, queueing included.
  std::chrono::microseconds cpu_time{};  ///< Of the worker's group; 0 without cgroups.
  std::chrono::microseconds throttled_time{};  ///< Of the node's group.
  Bytes rss;                                   ///< Resident now, shared libraries included. Of the whole process.
  Bytes memory_peak;                           ///< Highest charge of the worker's group; highest resident size without.
};

namespace detail {
class SessionState;
}

/// A plan at work: workers that are up, warm and checked, and requests that run through them.
/// A move-only handle; every function may be called from any thread at any time. The destructor closes.
class Session {
 public:
  using Handler = std::function<void(Result<Value>)>;

  explicit Session(std::shared_ptr<detail::SessionState> state) noexcept;
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Runs one request and blocks until its answer. The answer owns its memory. A request whose worker dies is sent
  /// again; its answer comes once. The calling thread takes its answer from the worker itself, and meanwhile those of
  /// other callers, so that no other thread has to wake up in between.
  /// @error InputMismatch; Overloaded at once when as many requests are in flight as are admitted; ExecutionFailed with
  /// the model's own message; MessageTooLarge; DeadlineExceeded, WorkerUnresponsive after the session's time-out;
  /// RequestKillsWorker, or OutOfMemory, for one that two workers died of; StateLost and WorkerDied for models that
  /// keep state, whose requests are not sent again; NoRoute, SessionClosed.
  [[nodiscard]] Result<Value> infer(const Values& inputs, const RequestOptions& options = {});

  /// The same without blocking, for any Asio completion token (callback, `use_future`, `use_awaitable`, ...) of
  /// signature `void(Result<Value>)`. Exactly one completion, on the handler's associated executor or, without one, on
  /// the runtime's thread: do not block there, and do not throw (what is thrown there is dropped). The inputs are
  /// copied into shared memory before this returns. Emitting the handler's cancellation slot completes the request with
  /// Cancelled, unless it was complete; as ever in Asio, not while the handler's executor may be calling it.
  template <class CompletionToken>
  auto async_infer(const Values& inputs, const RequestOptions& options, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Result<Value>)>(
        [state = state_](auto handler, const Values& values, const RequestOptions& wanted) {
          const auto executor = boost::asio::get_associated_executor(handler, executor_of(*state));
          auto work = boost::asio::make_work_guard(executor);
          auto slot = boost::asio::get_associated_cancellation_slot(handler);
          const std::uint64_t id = next_id(*state);
          if (slot.is_connected()) {
            slot.assign([weak = std::weak_ptr(state), id](boost::asio::cancellation_type) {
              if (const auto alive = weak.lock()) cancel(*alive, id);
            });
          }
          // std::function copies; handlers may be move-only.
          auto shared =
              std::make_shared<std::pair<decltype(handler), decltype(work)>>(std::move(handler), std::move(work));
          submit(*state, id, values, wanted, [shared, slot](Result<Value> result) {
            boost::asio::dispatch(shared->second.get_executor(), [shared, slot, result = std::move(result)]() mutable {
              if (slot.is_connected()) slot.clear();
              std::move(shared->first)(std::move(result));
            });
          });
        },
        token, inputs, options);
  }
  template <class CompletionToken>
  auto async_infer(const Values& inputs, CompletionToken&& token) {
    return async_infer(inputs, RequestOptions{}, std::forward<CompletionToken>(token));
  }

  /// How many requests are in flight at once; `SessionOptions::max_waiting` more are admitted.
  [[nodiscard]] std::size_t max_in_flight() const noexcept;

  /// What its workers execute: the option's form, or the plain one where that answered differently.
  [[nodiscard]] Form form() const noexcept;

  /// The stages in the order of the plan; a stage that several pipelines share is listed once.
  [[nodiscard]] std::vector<StageReport> stages() const;

  /// Takes no more requests, waits until those under way are complete, and closes. Blocks.
  /// @error WorkerUnresponsive after `timeout`: what was still under way then has failed with SessionClosed.
  /// NotSupported on the runtime's thread, which it would wait for.
  Result<void> drain(std::chrono::nanoseconds timeout);

  /// Takes no more requests, fails those under way with SessionClosed, ends the workers and removes their groups.
  /// Blocks for some milliseconds. Closing twice is harmless.
  void close();

 private:
  static std::uint64_t next_id(detail::SessionState& state);
  static void submit(detail::SessionState& state, std::uint64_t id, const Values& inputs, const RequestOptions& options,
                     Handler handler);
  static void cancel(detail::SessionState& state, std::uint64_t id);
  static boost::asio::any_io_executor executor_of(detail::SessionState& state);

  std::shared_ptr<detail::SessionState> state_;
};

}  // namespace amp4ec
