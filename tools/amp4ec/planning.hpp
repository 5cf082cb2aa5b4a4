// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/partitioner.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/profile.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace amp4ec::cli {

/// What `plan` and `run` take to make a plan.
struct PlanningOptions {
  std::vector<std::string> nodes;
  std::vector<std::string> links;
  double scale = 1;
  std::string strategy = "optimal";
  std::string objective = "throughput";
  std::string pipelines = "any";
  std::size_t max_stages = 0;
  std::size_t max_pipelines = 0;
  std::vector<std::string> pins;  ///< FIRST-LAST:NODE
  std::vector<std::size_t> forbidden_cuts;
  bool shared_nodes = false;
  std::string profile;              ///< File to read, or to write when it does not exist yet.
  bool no_profile = false;          ///< Estimate instead of measuring.
  std::vector<std::string> prices;  ///< NODE:PRICE
};

/// The nodes alone: `--node`, `--link` and `--scale`.
void add_node_options(CLI::App& verb, PlanningOptions& options);

void add_planning_options(CLI::App& verb, PlanningOptions& options);

/// The nodes with their quotas scaled. @error InvalidArgument.
Result<std::vector<NodeSpec>> parse_nodes(const PlanningOptions& options);

/// The links, which may still name nodes that are not there. @error InvalidArgument.
Result<std::vector<LinkSpec>> parse_links(const PlanningOptions& options);

/// The strategy with its settings. @error InvalidArgument.
Result<Partitioner> make_partitioner(const PlanningOptions& options);

/// A profile from a file, of any model. @error FileNotFound, and what `read_profile` refuses.
Result<Profile> load_profile(const std::string& file);

/// A plan from a file, for any model. @error FileNotFound, JsonInvalid, NotSupported.
Result<Plan> load_plan(const std::string& file);

/// A plan from a file, for this model. @error FileNotFound, JsonInvalid, PlanInvalid when it is for another model.
Result<Plan> load_plan(const std::string& file, const Model& model);

/// The plan as people read it: its stages, what is predicted, the advice.
std::string plan_text(const Plan& plan, const std::vector<NodeSpec>& nodes);

}  // namespace amp4ec::cli
