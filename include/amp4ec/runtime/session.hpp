// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/model/value.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace amp4ec {

class TraceWriter;

struct SessionOptions {
  Form form = Form::Optimized;                        ///< Plain where that is off by more than optimized_tolerance().
  std::string policy = "shortest-completion";         ///< One of `policy_names`: how the Scheduler picks a route.
  std::size_t max_in_flight = 0;                      ///< Requests admitted at once; 0: enough to keep the plan full.
  std::chrono::milliseconds request_timeout{60'000};  ///< A request without an answer for so long fails.
  std::chrono::milliseconds start_timeout{120'000};   ///< For all workers to load, together.
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
  pid_t pid = -1;
  bool alive = false;
  Cpus quota;
  Bytes memory_limit;  ///< Of the node; 0 where none binds.
  std::uint64_t requests = 0;
  std::chrono::nanoseconds busy{};       ///< Sum of service times: receipt of a message to hand-over of the result.
  std::chrono::nanoseconds hop{};        ///< Sum of times from a message's hand-over to its receipt, queueing included.
  std::chrono::microseconds cpu_time{};  ///< Of the worker's group; 0 without cgroups.
  std::chrono::microseconds throttled_time{};  ///< Of the node's group.
  Bytes rss;                                   ///< Resident now, shared libraries included.
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

  /// Runs one request and blocks until its answer. The answer owns its memory.
  /// @error InputMismatch; Overloaded at once when max_in_flight requests are under way; ExecutionFailed with the
  /// model's own message; NoRoute, WorkerDied, OutOfMemory, WorkerUnresponsive, SessionClosed.
  [[nodiscard]] Result<Value> infer(const Values& inputs);

  /// The same without blocking, for any Asio completion token (callback, `use_future`, `use_awaitable`, ...) of
  /// signature `void(Result<Value>)`. Exactly one completion, on the handler's associated executor or, without one, on
  /// the runtime's thread: do not block there, and do not throw (what is thrown there is dropped). The inputs are
  /// copied into shared memory before this returns.
  template <class CompletionToken>
  auto async_infer(const Values& inputs, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Result<Value>)>(
        [state = state_](auto handler, const Values& values) {
          const auto executor = boost::asio::get_associated_executor(handler, executor_of(*state));
          auto work = boost::asio::make_work_guard(executor);
          // std::function copies; handlers may be move-only.
          auto shared =
              std::make_shared<std::pair<decltype(handler), decltype(work)>>(std::move(handler), std::move(work));
          submit(*state, values, [shared](Result<Value> result) {
            boost::asio::dispatch(shared->second.get_executor(), [shared, result = std::move(result)]() mutable {
              std::move(shared->first)(std::move(result));
            });
          });
        },
        token, inputs);
  }

  /// How many requests are admitted at once.
  [[nodiscard]] std::size_t max_in_flight() const noexcept;

  /// What its workers execute: the option's form, or the plain one where that answered differently.
  [[nodiscard]] Form form() const noexcept;

  /// The stages in the order of the plan; a stage that several pipelines share is listed once.
  [[nodiscard]] std::vector<StageReport> stages() const;

  /// Takes no more requests, fails those under way with SessionClosed, ends the workers and removes their groups.
  /// Blocks for some milliseconds. Closing twice is harmless.
  void close();

 private:
  static void submit(detail::SessionState& state, const Values& inputs, Handler handler);
  static boost::asio::any_io_executor executor_of(detail::SessionState& state);

  std::shared_ptr<detail::SessionState> state_;
};

}  // namespace amp4ec
