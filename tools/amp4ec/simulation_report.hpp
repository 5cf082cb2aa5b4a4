// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/simulate_options.hpp>
#include <amp4ec/plan/simulation.hpp>

#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace amp4ec::cli {

/// Everything that `simulate` found out.
struct SimulationReport {
  Plan plan;
  std::vector<NodeSpec> nodes;
  SimulateOptions options;
  std::string policy;
  Simulation simulation;
};

/// The object of `--json`: the plan, so that a report is accepted where a plan is, then the names that `run` uses.
boost::json::object simulation_json(const SimulationReport& report);

/// Workers, links, then latency and rate beside what the plan predicts.
std::string simulation_text(const SimulationReport& report);

}  // namespace amp4ec::cli
