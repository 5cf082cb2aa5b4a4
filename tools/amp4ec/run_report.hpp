// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "rounds.hpp"

#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace amp4ec::cli {

/// Everything that `run` found out.
struct RunReport {
  Plan plan;
  std::vector<NodeSpec> nodes;           ///< Quotas scaled.
  std::vector<NodeSpec> replica_places;  ///< BareReplicas::nodes().
  Form form = Form::Optimized;
  std::string policy;
  WorkerKind workers = WorkerKind::process;
  std::size_t in_flight = 0;
  Capabilities capabilities;  ///< Of the runtime that served the plan.
  bool compared = true;       ///< false: the model draws random numbers or keeps state.
  Measurement measured;

  /// Every answer equal to the unsplit module's.
  [[nodiscard]] bool equal() const noexcept { return measured.load.unequal == 0; }
};

/// The object of `--json`. It starts with the plan, so that a report is accepted where a plan is.
boost::json::object report_json(const RunReport& report);

/// The plan, then the stages as measured, then the comparison with bare replicas.
std::string report_text(const RunReport& report);

}  // namespace amp4ec::cli
