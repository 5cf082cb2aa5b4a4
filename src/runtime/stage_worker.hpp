// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/runtime_state.hpp"
#include "runtime/worker.hpp"

#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/edge_gauges.hpp>
#include <amp4ec/ipc/input_arena.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/model/segment.hpp>
#include <amp4ec/schedule/worker_state.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace amp4ec::detail {

enum class Direction { In, Out };  ///< Of an edge, seen from the worker.

/// Values in shared memory, as a worker takes them for `measure`. @error ValueNotTransferable, SystemCall.
Result<ipc::MemoryFile> share_values(const Values& values);

/// The host's picture of one worker: how to reach it, its group, its counters. Driven by one thread at a time.
class StageWorker {
 public:
  /// Starts the worker on the node (null: without limits). `spin`: see SessionOptions::spin.
  static Result<std::unique_ptr<StageWorker>> start(RuntimeState& runtime, Node* node, std::uint8_t id,
                                                    WorkerKind kind = WorkerKind::process,
                                                    std::chrono::microseconds spin = {});
  StageWorker(const StageWorker&) = delete;
  StageWorker& operator=(const StageWorker&) = delete;
  ~StageWorker();

  /// Sends a segment; `finish_load` waits for it. Apart, so that several workers load at once. May be repeated.
  /// `chosen`: what `find_chosen_form` has said of the segment, to save the search; empty: what the runtime has
  /// learned.
  Result<void> begin_load(const Segment& segment, Form form, const std::string& chosen = {});
  Result<void> finish_load(std::chrono::nanoseconds timeout);

  /// The runtime learns in which form a segment runs fastest with so many threads as this worker has, if it does not
  /// know.
  void teach_form(const Segment& segment, const std::string& form);

  /// Asks in which form the loaded segment was found to run fastest, so that the worker after this one need not search.
  /// For a worker that has answered.
  Result<void> learn_form();
  /// The form, without the runtime learning it; empty when there was no search. @error as WorkerProcess::call.
  Result<std::string> find_chosen_form();

  /// Gives the worker one end of an edge, in the place of any that it had with this peer; `peer_bell` is what it rings.
  /// A worker takes it between two requests. @error as WorkerProcess::call.
  Result<void> connect(Direction direction, std::uint8_t peer, const ipc::Edge& edge, const ipc::Bell& peer_bell,
                       std::chrono::nanoseconds timeout);
  /// Shows it where the inputs of requests lie. @error as WorkerProcess::call.
  Result<void> give_inputs(const ipc::InputArena& inputs, std::chrono::nanoseconds timeout);

  struct Measurement {
    double median_us = 0;
    double cpu_us = 0;  ///< CPU time of the worker, a run on average.
    double p99_us = 0;
    double spread = 0;
    double runs = 0;
    double seconds = 0;
  };
  struct Effort {
    std::size_t warm = 0;
    std::size_t runs = 0;
    double seconds = 0;
  };
  /// Runs the loaded segment in a loop inside the worker. `outputs`: where the last result goes, or null.
  Result<void> begin_measure(const ipc::MemoryFile& inputs, const Effort& effort,
                             const ipc::MemoryFile* outputs = nullptr);
  Result<Measurement> finish_measure(std::chrono::nanoseconds timeout);

  /// The Monitor counts the worker to its node no longer. For one that has ended.
  void leave_node();

  /// Why the worker ended, as an error for its requests: WorkerDied, or OutOfMemory with limit and peak.
  Error reason_of_death();

  /// Whether it has been asked something on its control channel and has not answered. Thread-safe.
  [[nodiscard]] bool is_asked() const noexcept { return asked_; }

  [[nodiscard]] std::string label() const;
  [[nodiscard]] Node* node() const noexcept { return node_; }
  [[nodiscard]] std::uint8_t id() const noexcept { return id_; }
  [[nodiscard]] Worker& worker() noexcept { return *worker_; }
  [[nodiscard]] const ipc::Bell& bell() const noexcept { return bell_; }
  [[nodiscard]] const std::optional<cgroup::Group>& group() const noexcept { return group_; }
  /// What waits for it.
  [[nodiscard]] ipc::EdgeGauges& incoming() const noexcept { return *incoming_; }
  [[nodiscard]] const ipc::WorkerCounters& counters() const noexcept { return *counters_; }
  [[nodiscard]] Bytes base_memory() const noexcept { return base_memory_; }
  /// Whether the kernel holds it to its node's CPU quota.
  [[nodiscard]] bool quota_binds() const noexcept { return quota_binds_; }
  [[nodiscard]] std::size_t first_layer() const noexcept { return first_layer_; }
  [[nodiscard]] std::size_t last_layer() const noexcept { return last_layer_; }

 private:
  StageWorker(RuntimeState& runtime, Node* node, std::uint8_t id, ipc::Bell bell,
              std::shared_ptr<ipc::WorkerCounters> counters)
      : runtime_(runtime.shared_from_this()),
        node_(node),
        id_(id),
        bell_(std::move(bell)),
        counters_(std::move(counters)) {}

  Result<boost::json::object> call(const boost::json::object& request, std::span<const int> fds,
                                   std::chrono::nanoseconds timeout);
  /// Errors of the control channel, with the worker's name and the true reason when it died.
  Error explain(const Error& error);
  /// Tells the node of kills for memory in this worker's group.
  void count_kills();

  std::shared_ptr<RuntimeState> runtime_;
  Node* node_;
  std::uint8_t id_;
  WorkerKind kind_ = WorkerKind::process;
  std::chrono::microseconds spin_{};
  bool claims_node_ = false;  ///< See Node::claim.
  bool quota_binds_ = false;
  std::uint64_t counted_kills_ = 0;
  std::size_t first_layer_ = 0;
  std::size_t last_layer_ = 0;
  std::string hash_;  ///< Of the segment that is loaded.
  unsigned threads_ = 1;
  std::shared_ptr<const ipc::MemoryFile> archive_;  ///< Of what it has loaded: kept for the one after it.
  Bytes base_memory_;
  std::atomic<bool> asked_ = false;
  bool limits_own_memory_ = false;  // No group limits it.
  ipc::Bell bell_;
  std::shared_ptr<ipc::WorkerCounters> counters_;
  const std::shared_ptr<ipc::EdgeGauges> incoming_ = std::make_shared<ipc::EdgeGauges>();
  std::optional<cgroup::Group> group_;  // outlives the process that runs in it
  std::unique_ptr<Worker> worker_;
};

}  // namespace amp4ec::detail
