// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace amp4ec {

/// How fast a bare worker went.
struct Rate {
  double throughput_rps = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

/// What a plan is compared with: one bare replica of the whole model on each node of a runtime, run in a closed loop
/// inside the worker, without requests, queues or hops. Together the replicas are the physical limit of the nodes.
/// Move-only; not thread-safe. Give it a runtime of its own: its workers share their nodes' quotas with nobody else.
class Baseline {
 public:
  /// Starts and warms a worker on each node. Blocks. @error as Runtime::open.
  [[nodiscard]] static Result<Baseline> open(Runtime& runtime, const Model& model, const Values& example,
                                             Form form = Form::Optimized);

  Baseline(Baseline&&) noexcept;
  Baseline& operator=(Baseline&&) noexcept;
  ~Baseline();

  /// Runs the replicas on these nodes (indices into Runtime::nodes()) all at once, for so long; the others rest.
  /// Blocks. @error InvalidArgument, WorkerDied, OutOfMemory, ExecutionFailed.
  [[nodiscard]] Result<std::vector<Rate>> run(std::span<const std::size_t> nodes, std::chrono::milliseconds duration);

 private:
  struct State;
  explicit Baseline(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace amp4ec
