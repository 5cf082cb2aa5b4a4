// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"
#include "planning.hpp"
#include "simulation_report.hpp"
#include "verb.hpp"

#include <amp4ec/plan/evaluate.hpp>
#include <amp4ec/plan/simulate.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

struct SimulateVerb {
  std::string plan;
  PlanningOptions planning;
  std::optional<double> rate;
  std::string arrivals = "poisson";
  std::optional<std::size_t> in_flight;
  std::size_t requests = SimulateOptions{}.requests;
  std::size_t warm_up = 0;
  std::optional<std::size_t> max_in_flight;
  std::optional<std::size_t> max_waiting;
  std::string policy{router_names[0]};
  std::string noise = "none";
  std::string quota = "even";
  std::vector<std::string> failures;
  double mean_life = 0;
  double mean_repair = 1;
  std::uint64_t seed = 1;
  bool json = false;
};

Result<Arrivals> arrivals_of(const SimulateVerb& options) {
  const auto kind = parse_arrival_kind(options.arrivals);
  if (!kind) return kind.error();
  if (!options.rate) return options.in_flight ? Arrivals::closed_loop(*options.in_flight) : Arrivals::closed_loop();
  return *kind == ArrivalKind::poisson ? Arrivals::poisson(*options.rate) : Arrivals::constant(*options.rate);
}

/// "none", "exponential", "lognormal" or "lognormal:VARIATION".
Result<ServiceModel> parse_service(const SimulateVerb& options) {
  ServiceModel service;
  const std::string_view noise = options.noise;
  constexpr std::string_view lognormal = "lognormal";
  if (noise == "exponential") {
    service.noise = ServiceNoise::exponential;
  } else if (noise.starts_with(lognormal)) {
    service.noise = ServiceNoise::lognormal;
    if (noise != lognormal) {
      const auto variation = parse_number(noise.substr(lognormal.size() + 1));
      if (noise[lognormal.size()] != ':' || !variation) {
        return Error{Errc::InvalidArgument, fmt::format("--noise {}: write for example lognormal:0.1", noise)};
      }
      service.variation = *variation;
    }
  } else if (noise != "none") {
    return Error{Errc::InvalidArgument,
                 fmt::format("--noise {}: use none, lognormal, lognormal:VARIATION or exponential", noise)};
  }
  if (options.quota == "periods") {
    service.quota = QuotaModel::periods;
  } else if (options.quota != "even") {
    return Error{Errc::InvalidArgument, fmt::format("--quota {}: use even or periods", options.quota)};
  }
  return service;
}

Result<SimulateOptions> simulate_options_of(const SimulateVerb& options) {
  SimulateOptions simulated;
  auto arrivals = arrivals_of(options);
  if (!arrivals) return arrivals.error();
  simulated.arrivals = std::move(*arrivals);
  auto router = make_router(options.policy);
  if (!router) return router.error();
  simulated.router = std::move(*router);
  const auto service = parse_service(options);
  if (!service) return service.error();
  simulated.service = *service;
  for (const std::string& text : options.failures) {
    auto outage = parse_outage(text);
    if (!outage) return outage.error();
    simulated.outages.push_back(std::move(*outage));
  }
  simulated.requests = options.requests;
  simulated.warm_up = options.warm_up;
  simulated.max_in_flight = options.max_in_flight;
  simulated.max_waiting = options.max_waiting;
  simulated.failures.worker_life_s = options.mean_life;
  simulated.failures.worker_repair_s = options.mean_life > 0 ? options.mean_repair : 0;
  simulated.seed = options.seed;
  return simulated;
}

/// The plan with the times that it holds, or with those of a profile.
Result<Plan> plan_of(const SimulateVerb& options, const std::vector<NodeSpec>& nodes,
                     const std::vector<LinkSpec>& links) {
  auto plan = load_plan(options.plan);
  if (!plan) return plan;
  const std::string& file = options.planning.profile;
  if (file.empty()) {
    if (options.planning.scale == 1) return plan;
    return Error{
        Errc::InvalidArgument,
        "--scale needs --profile FILE here: the times in the plan are those of the quotas that it was made for"};
  }
  const auto profile = load_profile(file);
  if (!profile) return profile.error();
  if (!plan->model_hash.empty() && plan->model_hash != profile->graph.model_hash) {
    return Error{Errc::ProfileInvalid, fmt::format("profile '{}' belongs to model {}, plan '{}' is for {}", file,
                                                   profile->graph.model_hash, options.plan, plan->model_hash)};
  }
  return evaluate(std::move(*plan), *profile, nodes, links);
}

Result<Exit> run_simulate(const SimulateVerb& options) {
  SimulationReport report;
  auto nodes = parse_nodes(options.planning);
  if (!nodes) return nodes.error();
  const auto links = parse_links(options.planning);
  if (!links) return links.error();
  auto simulated = simulate_options_of(options);
  if (!simulated) return simulated.error();
  auto plan = plan_of(options, *nodes, *links);
  if (!plan) return plan.error();
  if (const auto fit = check_memory(*plan, *nodes); !fit) return fit.error();
  auto simulation = simulate(*plan, *nodes, *links, *simulated);
  if (!simulation) return simulation.error();
  report.plan = std::move(*plan);
  report.nodes = std::move(*nodes);
  report.options = std::move(*simulated);
  report.policy = options.policy;
  report.simulation = std::move(*simulation);

  const auto printed = options.json ? print_json(simulation_json(report)) : print(simulation_text(report));
  if (!printed) return printed.error();
  if (report.simulation.lost == 0) return Exit::success;
  print_failure(fmt::format("{} of {} requests were lost: no pipeline was left that could answer them",
                            report.simulation.lost, report.simulation.requests));
  return Exit::no;
}

void add_load_options(CLI::App& verb, SimulateVerb& options) {
  auto* rate = verb.add_option("--rate", options.rate, "Requests a second that come, whatever becomes of them");
  verb.add_option("--arrivals", options.arrivals, "With --rate: poisson or constant")
      ->needs(rate)
      ->capture_default_str();
  verb.add_option("--inflight", options.in_flight,
                  "Requests in flight at all times; without it and --rate, enough to keep the plan full")
      ->excludes(rate);
  verb.add_option("--requests", options.requests, "How many come")->capture_default_str();
  verb.add_option("--warm-up", options.warm_up, "So many of the first are left out of the figures");
  verb.add_option("--max-inflight", options.max_in_flight,
                  "Most requests under way; without it, 4 for each stage, or --inflight");
  verb.add_option("--max-waiting", options.max_waiting,
                  "Most requests that wait beyond these; without it, none is refused");
  verb.add_option("--policy", options.policy, fmt::format("How routes are picked: {}", fmt::join(router_names, ", ")))
      ->capture_default_str();
}

void add_chance_options(CLI::App& verb, SimulateVerb& options) {
  verb.add_option("--noise", options.noise, "Of service times: none, lognormal[:VARIATION] or exponential")
      ->capture_default_str();
  verb.add_option(
          "--quota", options.quota,
          "How a quota holds: even (spread over time) or periods (full speed, then a pause, as the kernel does)")
      ->capture_default_str();
  verb.add_option("--fail", options.failures,
                  "NAME@SECOND[:DURATION]: a node, or a link FROM:TO, fails; repeatable; without DURATION for good")
      ->allow_extra_args(false);
  auto* life = verb.add_option("--mean-life", options.mean_life, "Workers fail at random, after so many seconds");
  verb.add_option("--mean-repair", options.mean_repair, "With --mean-life: and are back after so many")
      ->needs(life)
      ->capture_default_str();
  verb.add_option("--seed", options.seed, "Of everything that is random")->capture_default_str();
}

}  // namespace

void add_simulate(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<SimulateVerb>();
  CLI::App* verb = app.add_subcommand("simulate", "Predict how a plan fares under load and failures");
  verb->add_option("PLAN", options->plan, "A plan that 'amp4ec plan -o' wrote")->required();
  add_node_options(*verb, options->planning);
  verb->add_option("--profile", options->planning.profile,
                   "Take times from this profile of the model, not from the plan");
  add_load_options(*verb, *options);
  add_chance_options(*verb, *options);
  verb->add_flag("--json", options->json, "Print one JSON object and nothing else");
  verb->callback([options, &chosen] { chosen = [options](const Interrupt&) { return run_simulate(*options); }; });
}

}  // namespace amp4ec::cli
