// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/runtime_state.hpp"
#include "runtime/stage_worker.hpp"

#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/runtime/session.hpp>
#include <amp4ec/schedule/policy.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace amp4ec::detail {

/// The workers that a request visits, by id, in order.
using Route = std::vector<std::uint8_t>;

/// The host's ends of the edges of one worker.
struct HostEnds {
  std::optional<ipc::EdgeProducer> inputs;  ///< Only for workers that a route begins with.
  std::optional<ipc::EdgeConsumer> results;
};

/// Everything that a session needs to run, made by `open_session`.
struct SessionParts {
  std::shared_ptr<RuntimeState> runtime;
  Model model;
  SessionOptions options;
  std::size_t max_in_flight = 0;
  std::vector<std::unique_ptr<StageWorker>> workers;  ///< Index: worker id.
  std::vector<HostEnds> ends;                         ///< Index: worker id.
  std::vector<Route> routes;                          ///< One a pipeline.
  ipc::EventFd bell;                                  ///< Rung by every worker that has something for the host.
  std::unique_ptr<Policy> policy;
};

/// Requests on their way. Callers submit on their own threads; results, deaths and time-outs are handled on the
/// runtime's.
class SessionState : public std::enable_shared_from_this<SessionState> {
 public:
  explicit SessionState(SessionParts parts);

  /// Begins to listen to workers. Once, before the first request.
  Result<void> start();

  /// Takes a request or refuses it; the handler is called once, never from within this function.
  void submit(const Values& inputs, Session::Handler handler, std::optional<std::size_t> fixed_route = std::nullopt);

  void close();

  /// Loads a segment into a worker again, before the first request: it begins with fresh state.
  Result<void> reload(std::size_t worker, const Segment& segment, std::chrono::nanoseconds timeout);

  /// Of the segments that are loaded from now on. Before the first request.
  void set_form(Form form) noexcept { parts_.options.form = form; }
  [[nodiscard]] Form form() const noexcept { return parts_.options.form; }

  [[nodiscard]] std::vector<StageReport> stages() const;
  [[nodiscard]] std::size_t max_in_flight() const noexcept { return parts_.max_in_flight; }
  [[nodiscard]] std::size_t route_count() const noexcept { return parts_.routes.size(); }
  [[nodiscard]] boost::asio::io_context& io() noexcept { return *parts_.runtime->io; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Pending {
    Session::Handler handler;
    std::size_t route = 0;
    Clock::time_point submitted;
    Clock::time_point deadline;
  };
  /// A request that has had its one completion, but for the call of its handler.
  struct Done {
    std::uint64_t request;
    Pending entry;
  };

  std::optional<Error> admit(const Values& inputs, Session::Handler& handler, std::optional<std::size_t> fixed_route);
  std::optional<std::size_t> choose_route();
  [[nodiscard]] Error why_no_route() const;
  void count_in_flight(std::size_t route, int change);

  void listen();
  /// What a worker says of a request.
  struct Finished {
    std::uint64_t request;
    std::uint8_t worker;
    Result<Value> result;
  };
  [[nodiscard]] std::vector<Finished> take_results();
  void complete_all(const std::vector<Finished>& all);
  void complete(const Finished& finished);
  /// `error`: empty for a request that was answered.
  void trace(const Done& done, const std::string& error) const noexcept;
  void fail_matching(const std::function<bool(const Pending&)>& matches, const Error& error);

  void watch_for_death(std::size_t worker);
  void on_death(std::size_t worker);
  void sweep_later();
  void on_sample(const Sample& sample);
  [[nodiscard]] bool is_closed() const;

  SessionParts parts_;
  const std::uint64_t trace_ids_;  ///< Added to the ids of its requests: several sessions may share a trace.
  boost::asio::posix::stream_descriptor bell_wait_;
  std::vector<boost::asio::posix::stream_descriptor> death_waits_;
  boost::asio::steady_timer sweep_timer_;
  Subscription samples_;

  mutable std::mutex mutex_;  // guards what follows, the producers' ends and the policy's view
  bool closed_ = false;
  std::string last_death_;  // why, for those who come after it
  std::uint64_t next_request_ = 1;
  std::unordered_map<std::uint64_t, Pending> pending_;
  std::vector<WorkerState> states_;
  std::vector<std::vector<const WorkerState*>> route_states_;
  std::vector<Candidate> candidates_;
};

/// Starts, connects, warms and checks. Blocks. See Runtime::open.
Result<std::shared_ptr<SessionState>> open_session(const std::shared_ptr<RuntimeState>& runtime, const Model& model,
                                                   const Plan& plan, const Values& example,
                                                   const SessionOptions& options);

}  // namespace amp4ec::detail
