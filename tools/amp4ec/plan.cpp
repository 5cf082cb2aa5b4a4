// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"
#include "output.hpp"
#include "planning.hpp"
#include "profiling.hpp"
#include "subject.hpp"
#include "verb.hpp"

#include <amp4ec/plan/explain.hpp>
#include <amp4ec/plan/explanation_json.hpp>
#include <amp4ec/plan/explanation_text.hpp>
#include <amp4ec/plan/plan_json.hpp>

#include <CLI/CLI.hpp>

#include <boost/json/object.hpp>

#include <memory>
#include <string>

namespace amp4ec::cli {
namespace {

struct PlanOptions {
  ModelOptions model;
  PlanningOptions planning;
  std::string output;
};

/// Starts with the plan, so that the answer is accepted where a plan is.
boost::json::object answer_json(const Plan& plan, const Explanation& explanation) {
  boost::json::object object = plan_to_json(plan);
  object["explanation"] = explanation_to_json(explanation);
  return object;
}

Result<Exit> run_plan(const PlanOptions& options) {
  const auto nodes = parse_nodes(options.planning);
  if (!nodes) return nodes.error();
  const auto partitioner = make_partitioner(options.planning);
  if (!partitioner) return partitioner.error();
  if (const auto valid = validate_links(partitioner->links, *nodes); !valid) return valid.error();
  if (!options.output.empty()) {
    if (const auto writable = check_output(options.output); !writable) return writable.error();
  }
  const auto subject = load_subject(options.model);
  if (!subject) return subject.error();
  const auto planned = plan_from_profile(*subject, Form::Optimized, options.planning,
                                         [&](const Profile& profile) { return partitioner->plan(profile, *nodes); });
  if (!planned) return planned.error();
  const Plan& plan = planned->plan;
  if (!options.output.empty()) {
    if (const auto written = write_file(options.output, write_plan(plan)); !written) return written.error();
  }
  const auto explanation = explain(plan, partitioner->problem(planned->profile, *nodes));
  if (!explanation) return explanation.error();
  const auto printed = options.model.json ? print_json(answer_json(plan, *explanation))
                                          : print(plan_text(plan, *nodes) + "\n" + to_text(*explanation));
  if (!printed) return printed.error();
  return Exit::success;
}

}  // namespace

void add_plan(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* verb = app.add_subcommand("plan", "Decide which node runs which layers");
  add_model_options(*verb, options->model);
  add_input_options(*verb, options->model);
  add_planning_options(*verb, options->planning);
  verb->add_option("-o", options->output, "Write the plan to this file");
  verb->callback([options, &chosen] { chosen = [options](const Interrupt&) { return run_plan(*options); }; });
}

}  // namespace amp4ec::cli
