// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/runtime_state.hpp"
#include "runtime/session_wiring.hpp"
#include "runtime/stage_worker.hpp"

#include <amp4ec/model/segment.hpp>
#include <amp4ec/runtime/session.hpp>
#include <amp4ec/schedule/policy.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

namespace amp4ec::detail {

/// The workers that a request visits, by id, in order.
using Route = std::vector<std::uint8_t>;

inline bool visits(const Route& route, std::size_t worker) {
  return std::find(route.begin(), route.end(), worker) != route.end();
}

/// A stage of a session and the worker that executes it now. Its index in the session is the worker's id.
struct SessionStage {
  Segment segment;
  bool stateful = false;
  std::shared_ptr<StageWorker> worker;  ///< Never null; one that has died stays until another takes its place.
  HostEnds ends;
};

/// Has a descriptor of Asio's wait on a duplicate: Asio closes what it is given. @error SystemCall.
Result<void> assign_duplicate(boost::asio::posix::stream_descriptor& descriptor, int fd);

/// Everything that a session needs to run, made by `open_session`.
struct SessionParts {
  std::shared_ptr<RuntimeState> runtime;
  Model model;
  SessionOptions options;
  std::size_t max_in_flight = 0;
  std::vector<SessionStage> stages;
  std::vector<Route> routes;  ///< One a pipeline.
  Wiring wiring;
  std::unique_ptr<Policy> policy;
  ipc::Bell reader_bell;  ///< Rung when a reader has its answer from another thread.
};

/// Requests on their way, and the workers that carry them. Callers submit on their own threads, and read results while
/// they wait for one; deaths, time-outs and results that no caller waits for are handled on the runtime's; new workers
/// are made on one of its threads for what takes long.
///
/// A request lives in `pending_` from its admission to its one completion. Meanwhile it is either under way, on a
/// route, or waits for one. Each time that it is sent again its `attempt` grows, and only an answer to the last attempt
/// counts: that makes it exactly one answer, whatever a worker that was thought dead still says.
class SessionState : public std::enable_shared_from_this<SessionState> {
 public:
  explicit SessionState(SessionParts parts);

  /// Begins to listen to workers. Once, before the first request.
  Result<void> start();

  /// From now on, a worker that dies is replaced and its requests are sent again. Until then they fail.
  void begin_repairs();

  /// An id for `submit`.
  std::uint64_t next_id();

  /// Takes a request or refuses it; the handler is called once, on the runtime's thread or the one that closes, never
  /// from within this function.
  void submit(std::uint64_t id, const Values& inputs, const RequestOptions& options, Session::Handler handler);

  /// Takes a request or refuses it, and blocks until its answer. Not on the runtime's thread.
  Result<Value> infer(const Values& inputs, const RequestOptions& options,
                      std::optional<std::size_t> fixed_route = std::nullopt);

  /// Completes a request with Cancelled if it has had no completion yet. Its worker is not interrupted.
  void cancel(std::uint64_t id);

  Result<void> drain(std::chrono::nanoseconds timeout);
  void close();

  /// Loads a segment into a worker again, before the first request: it begins with fresh state.
  Result<void> reload(std::size_t stage, std::chrono::nanoseconds timeout);

  /// What the workers have found out about their segments is kept for those after them. Before the first request.
  Result<void> learn_forms();

  /// Of the segments that are loaded from now on. Before the first request.
  void set_form(Form form) noexcept { parts_.options.form = form; }
  [[nodiscard]] Form form() const noexcept { return parts_.options.form; }

  [[nodiscard]] std::vector<StageReport> stages() const;
  [[nodiscard]] std::size_t max_in_flight() const noexcept { return parts_.max_in_flight; }
  [[nodiscard]] boost::asio::io_context& io() noexcept { return *parts_.runtime->io; }

 private:
  using Clock = std::chrono::steady_clock;

  /// A thread that waits in `infer`. Guarded by `mutex_`.
  struct Caller {
    const std::thread::id thread = std::this_thread::get_id();
    std::condition_variable changed;  ///< It has its answer, or nobody reads results any more.
    std::optional<Result<Value>> answer;
  };
  using Receiver = std::variant<Session::Handler, Caller*>;

  struct Pending {
    Receiver receiver;
    Clock::time_point submitted;
    Clock::time_point deadline;
    bool own_deadline = false;  ///< It is the caller's, not the session's.
    int priority = 0;
    std::shared_ptr<const ipc::InputArena::Slot> input;  ///< Kept until the answer: the request may be sent again.
    std::uint64_t input_length = 0;
    std::vector<std::byte> large_input;  ///< What does not fit there.
    std::optional<std::size_t> fixed_route;
    std::optional<std::size_t> route;  ///< None: it waits for one.
    std::uint32_t attempt = 0;
    unsigned killed = 0;  ///< Workers that died while they executed it, or were killed for what they made of it.
  };
  using PendingMap = std::unordered_map<std::uint64_t, Pending>;

  /// A request that has had its one completion, but its receiver does not know.
  struct Done {
    std::uint64_t request;
    Pending entry;
    Result<Value> result;
  };

  /// What the session knows of a stage beside its parts.
  struct Watch {
    explicit Watch(boost::asio::io_context& io) : death(io), restart(io) {}
    boost::asio::posix::stream_descriptor death;
    boost::asio::steady_timer restart;
    bool ended = false;              ///< The worker has died, or has been killed for a stall.
    bool left_dead = false;          ///< It has died before repairs began.
    std::string violation;           ///< What it was killed for, if it broke the protocol. `results_mutex_`.
    Clock::time_point next_standby;  ///< When the next one may be made.
    unsigned fruitless_deaths = 0;   ///< In a row, each without a completed request.
    // When it last moved on, and how long its node had been throttled by then.
    std::uint64_t requests = 0;
    std::uint64_t heartbeat_ns = 0;
    Clock::time_point moved;
    std::chrono::microseconds throttled{};
  };

  // -- the way in (session_state.cpp) --
  /// A place for the request's input. Counted in `arriving_` until it is pending.
  Result<std::shared_ptr<const ipc::InputArena::Slot>> reserve();
  std::optional<Error> admit(std::uint64_t id, const Values& inputs, const RequestOptions& options, Receiver& receiver,
                             std::optional<std::size_t> fixed_route);
  enum class Placed { sent, must_wait, nowhere };
  Placed place(std::uint64_t id, Pending& request);
  std::optional<std::size_t> choose_route();
  /// Places those that wait, as far as there is room. `mutex_` is held.
  void place_waiting(std::vector<Done>& done);
  void leave_route(Pending& request);
  [[nodiscard]] Error why_no_route() const;
  [[nodiscard]] bool may_come_back() const;
  void count_in_flight(std::size_t route, int change);
  PendingMap::iterator take(PendingMap::iterator entry, Result<Value> result, std::vector<Done>& done);

  // -- the way out (session_answers.cpp) --
  void listen();
  void on_bell();
  void see_to_a_reader();
  bool spin_for_results();
  void wait_as_reader();
  /// What a worker says of a request.
  struct Finished {
    std::uint64_t request;
    std::uint32_t attempt;
    std::uint8_t worker;
    Result<Value> result;
    bool believed = true;  ///< False: the worker is killed for it.
  };
  [[nodiscard]] std::vector<Finished> take_results();
  /// What a worker writes cannot be trusted any more; its end is seen elsewhere.
  void break_with(std::size_t stage, const Error& violation);
  [[nodiscard]] std::vector<Done> collect();
  /// Traces and delivers. Not under the mutex: a handler may do anything, closing the session included.
  void finish(const std::vector<Done>& done);
  void finish_on_runtime(std::vector<Done> done);
  void deliver(const Done& done);
  static void call_handler(const Session::Handler& handler, const Result<Value>& result) noexcept;

  // -- what goes wrong (session_faults.cpp) --
  Result<void> watch_for_death(std::size_t stage);
  void wait_for_death(std::size_t stage);
  void on_death(std::size_t stage);
  [[nodiscard]] std::optional<Error> why_not_again(std::pair<const std::uint64_t, Pending>& entry, std::size_t stage,
                                                   bool executed, const Error& reason) const;
  /// Sets the timer: for the next look at everything, or for the first deadline if that is sooner.
  void sweep_later();
  void sweep();
  [[nodiscard]] Error late(const Pending& request) const;
  void kill_stalled();
  [[nodiscard]] bool is_stalled(std::size_t stage);
  void tell(SessionEvent::Kind kind, std::size_t stage, std::string what) const;

  // -- new workers (session_repair.cpp) --
  /// `fruitful`: the one that died had completed requests.
  void restart_later(std::size_t stage, bool fruitful);
  void begin_next_repair();
  template <class Made>
  void make(std::size_t stage, Result<Made> (SessionState::*maker)(std::size_t),
            void (SessionState::*use)(std::size_t, Result<Made>));
  Result<std::shared_ptr<StageWorker>> start_loaded(std::size_t stage);
  std::shared_ptr<StageWorker> take_standby(std::size_t stage);
  void keep_standby(std::size_t stage, Result<std::shared_ptr<StageWorker>> made);
  struct Replacement {
    std::shared_ptr<StageWorker> worker;
    HostEnds ends;
    std::vector<std::size_t> unconnected;  ///< Neighbours that are dead or about to be.
  };
  Result<Replacement> make_replacement(std::size_t stage);
  void install(std::size_t stage, Result<Replacement> made);
  void prepare_standbys();
  /// Has it done on a helper; `close` waits for its end, so it may use this session. False when the session is closed.
  bool do_elsewhere(std::function<void()> work);
  /// While it lives, `close` ends this worker so that nothing waits for it.
  class InTheMaking;

  // -- what it tells (session_reports.cpp) --
  void trace(const Done& done) const noexcept;
  /// What a stage has done, its former workers included.
  [[nodiscard]] StageReport with_past(std::size_t stage) const;

  [[nodiscard]] bool is_closed() const;

  /// A request that so many workers died of is not sent to another.
  static constexpr unsigned enough_deaths = 2;

  static constexpr unsigned session_bits = 40;  ///< Above them, a request's id in a trace is the session's number.

  SessionParts parts_;
  const std::uint64_t trace_ids_;  ///< Added to the ids of its requests: several sessions may share a trace.
  boost::asio::posix::stream_descriptor bell_wait_;  ///< Open while the runtime's thread waits for the bell.
  boost::asio::steady_timer sweep_timer_;
  std::vector<Watch> watches_;          ///< Index: stage. Used on the runtime's thread.
  std::deque<std::size_t> to_repair_;   ///< As above. One at a time: while one is made, no worker is replaced.
  std::deque<std::size_t> to_prepare_;  ///< As above: stages that are to have a standby.
  bool making_ = false;                 ///< As above.

  std::mutex results_mutex_;  // guards the consumers' ends; taken before the next one

  mutable std::mutex mutex_;         // guards what follows, the producers' ends and the policy's view
  std::condition_variable changed_;  ///< Of `pending_` when draining, and of `done_elsewhere_`.
  bool closed_ = false;
  bool draining_ = false;
  bool repairs_ = false;
  std::size_t done_elsewhere_ = 0;        ///< Work of this session that helpers have in hand.
  StageWorker* in_the_making_ = nullptr;  ///< What `close` must end so that a repair ends.
  std::string last_death_;                // why, for those who come after it
  std::uint64_t next_request_ = 1;
  std::size_t arriving_ = 0;
  std::size_t under_way_ = 0;
  PendingMap pending_;
  std::vector<Caller*> callers_;                     ///< The longest waiting first.
  Caller* reader_ = nullptr;                         ///< One of them, which waits for the bell.
  bool listening_ = true;                            ///< The runtime's thread waits for the bell, or is about to.
  std::set<std::pair<int, std::uint64_t>> waiting_;  ///< Minus the priority, and id: in the order of their turn.
  std::vector<WorkerState> states_;
  std::vector<NodeView> views_;    ///< By stage: what the Monitor saw last of its node.
  std::vector<bool> quarantined_;  ///< A dead worker that is not replaced soon: too many in its place have died.
  std::vector<std::shared_ptr<StageWorker>> standbys_;  ///< By stage; null where there is none now.
  std::vector<StageReport> past_;                       ///< Sums over those that died in a worker's place.
  std::vector<std::vector<const WorkerState*>> route_states_;
  std::vector<Candidate> candidates_;
};

/// Starts, connects, warms and checks. Blocks. See Runtime::open.
Result<std::shared_ptr<SessionState>> open_session(const std::shared_ptr<RuntimeState>& runtime, const Model& model,
                                                   const Plan& plan, const Values& example,
                                                   const SessionOptions& options);

}  // namespace amp4ec::detail
