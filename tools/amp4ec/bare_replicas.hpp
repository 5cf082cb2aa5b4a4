// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/runtime/baseline.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <vector>

namespace amp4ec::cli {

/// What a run is compared with: the whole model, bare, in the best form, under the same CPU quotas and without memory
/// limits. Nodes of its own, under the same names, with "single" (one unthrottled thread) and, if wanted, "all" (a
/// thread for every CPU). Not thread-safe.
class BareReplicas {
 public:
  /// Blocks until the replicas are warm. `limited`: the run's nodes are held to their quotas, so these must be as well.
  /// @error as Runtime::create and Baseline::open; CgroupFailed when they cannot be held.
  static Result<BareReplicas> open(const Subject& subject, const std::vector<NodeSpec>& nodes, bool limited,
                                   bool with_all);

  /// Requests a second of the nodes' replicas run at once: the physical limit of these quotas.
  Result<double> together(std::chrono::milliseconds duration);
  /// One replica while the others rest; `index` is into `nodes()`.
  Result<Rate> alone(std::size_t index, std::chrono::milliseconds duration);

  /// The run's nodes in their order, then "single", then "all".
  [[nodiscard]] std::vector<NodeSpec> nodes() const { return runtime_.nodes(); }
  [[nodiscard]] std::size_t single() const noexcept { return node_count_; }

 private:
  BareReplicas(Runtime runtime, Baseline baseline, std::size_t node_count)
      : runtime_(std::move(runtime)), baseline_(std::move(baseline)), node_count_(node_count) {}

  Runtime runtime_;
  Baseline baseline_;
  std::size_t node_count_;  // of the run
};

}  // namespace amp4ec::cli
