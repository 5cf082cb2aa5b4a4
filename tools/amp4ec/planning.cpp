// SPDX-License-Identifier: Apache-2.0
#include "planning.hpp"

#include "files.hpp"
#include "table.hpp"
#include "text.hpp"

#include <amp4ec/plan/plan_json.hpp>
#include <amp4ec/plan/profile_json.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <system_error>

namespace amp4ec::cli {
namespace {

/// The number of pipelines; 0 for "any".
Result<std::size_t> parse_pipelines(const std::string& text) {
  if (text == "any") return std::size_t{0};
  const auto number = parse_number(text);
  if (number && *number >= 1 && *number <= 1000 && *number == std::floor(*number))
    return static_cast<std::size_t>(*number);
  return Error{Errc::InvalidArgument, fmt::format("--pipelines {}: write a number from 1, or any", text)};
}

/// "0-12:high"
Result<Pin> parse_pin(std::string_view text) {
  const auto dash = text.find('-');
  const auto colon = text.find(':');
  const auto layer = [](std::string_view number) {
    std::size_t value = 0;
    const auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), value);
    return failed == std::errc() && end == number.data() + number.size() ? std::optional(value) : std::nullopt;
  };
  if (dash < colon && colon != text.npos) {
    const auto first = layer(text.substr(0, dash));
    const auto last = layer(text.substr(dash + 1, colon - dash - 1));
    if (first && last) return Pin{*first, *last, std::string(text.substr(colon + 1))};
  }
  return Error{Errc::InvalidArgument, fmt::format("--pin {}: write FIRST-LAST:NODE, e.g. 0-12:high", text)};
}

std::string memory_text(const Stage& stage, const std::vector<NodeSpec>& nodes) {
  const auto node = std::ranges::find(nodes, stage.node, &NodeSpec::name);
  const bool limited = node != nodes.end() && node->memory.count > 0;
  const std::string needed = stage.memory.count > 0 ? format_bytes(stage.memory) : "?";
  return limited ? fmt::format("{} / {}", needed, format_bytes(node->memory)) : needed;
}

double bottleneck_us(const Pipeline& pipeline) {
  double longest = 0;
  for (const Stage& stage : pipeline.stages) longest = std::max(longest, stage.time_us);
  return longest;
}

/// What a file holds, with its name in what `read` says of it.
template <class T>
Result<T> load(std::string_view what, const std::string& file, Result<T> (*read)(std::string_view)) {
  const auto text = read_file(file);
  if (!text) return text.error();
  auto held = read(*text);
  if (!held) return Error{held.error().code, fmt::format("{} '{}': {}", what, file, held.error().message)};
  return held;
}

}  // namespace

void add_node_options(CLI::App& verb, PlanningOptions& options) {
  verb.add_option("--node", options.nodes, "A node, NAME:CPUS:MEMORY, e.g. high:1.0:1GiB; once for each")
      ->allow_extra_args(false);
  verb.add_option("--link", options.links,
                  "FROM:TO:BANDWIDTH:LATENCY, e.g. high:low:100MB:2ms; once for each direction")
      ->allow_extra_args(false);
  verb.add_option("--price", options.prices,
                  "NODE:PRICE of a second of CPU time, in any unit; plans tell the price of a request")
      ->allow_extra_args(false);
  verb.add_option("--scale", options.scale, "Multiplies every CPU quota")->check(CLI::Range(1e-3, 1e3));
}

void add_planning_options(CLI::App& verb, PlanningOptions& options) {
  add_node_options(verb, options);
  verb.add_option("--strategy", options.strategy, strategy_list())->capture_default_str();
  verb.add_option("--objective", options.objective, "throughput, latency or memory")->capture_default_str();
  verb.add_option("--pipelines", options.pipelines, "How many pipelines, or any")->capture_default_str();
  verb.add_option("--max-stages", options.max_stages, "Most stages of a pipeline; without it no bound")
      ->check(CLI::Range(1, 1000));
  verb.add_option("--max-pipelines", options.max_pipelines, "Most pipelines; without it no bound")
      ->check(CLI::Range(1, 1000));
  verb.add_option("--pin", options.pins, "FIRST-LAST:NODE, e.g. 0-12:high: these layers run on this node; repeatable")
      ->allow_extra_args(false);
  verb.add_option("--forbid-cut", options.forbidden_cuts, "Never cut after this layer; repeatable")
      ->allow_extra_args(false);
  verb.add_flag("--shared-nodes", options.shared_nodes, "A node may hold several stages of its pipeline");
  auto* profile = verb.add_option("--profile", options.profile,
                                  "The model's profile: read if the file exists, else measured and written");
  verb.add_flag("--no-profile", options.no_profile, "Estimate times from operations and bytes; measure nothing")
      ->excludes(profile);
}

Result<std::vector<NodeSpec>> parse_nodes(const PlanningOptions& options) {
  std::vector<NodeSpec> nodes;
  for (const std::string& text : options.nodes) {
    auto node = parse_node_spec(text);
    if (!node) return node.error();
    node->cpus.count *= options.scale;
    nodes.push_back(std::move(*node));
  }
  for (const std::string& text : options.prices) {
    const auto colon = text.rfind(':');
    const auto price = parse_number(colon == text.npos ? "" : std::string_view(text).substr(colon + 1));
    const auto node = std::ranges::find(nodes, text.substr(0, colon), &NodeSpec::name);
    if (!price) return Error{Errc::InvalidArgument, fmt::format("--price {}: write NODE:PRICE, e.g. high:0.02", text)};
    if (node == nodes.end()) return Error{Errc::InvalidArgument, fmt::format("--price {}: no such node", text)};
    node->price = *price;
  }
  if (const auto valid = validate_nodes(nodes); !valid) return valid.error();
  return nodes;
}

Result<std::vector<LinkSpec>> parse_links(const PlanningOptions& options) {
  std::vector<LinkSpec> links;
  for (const std::string& text : options.links) {
    auto link = parse_link(text);
    if (!link) return link.error();
    links.push_back(std::move(*link));
  }
  return links;
}

Result<Partitioner> make_partitioner(const PlanningOptions& options) {
  Partitioner partitioner;
  auto strategy = make_strategy(options.strategy);
  if (!strategy) return strategy.error();
  partitioner.strategy = std::move(*strategy);
  const auto objective = parse_objective(options.objective);
  if (!objective) return objective.error();
  partitioner.objective = *objective;
  const auto pipelines = parse_pipelines(options.pipelines);
  if (!pipelines) return pipelines.error();
  partitioner.pipelines = *pipelines;
  partitioner.max_stages = options.max_stages;
  partitioner.max_pipelines = options.max_pipelines;
  for (const std::string& text : options.pins) {
    auto pin = parse_pin(text);
    if (!pin) return pin.error();
    partitioner.pins.push_back(std::move(*pin));
  }
  partitioner.forbidden_cuts = options.forbidden_cuts;
  partitioner.shared_nodes = options.shared_nodes;
  auto links = parse_links(options);
  if (!links) return links.error();
  partitioner.links = std::move(*links);
  return partitioner;
}

Result<Profile> load_profile(const std::string& file) {
  return load("profile", file, read_profile);
}

Result<Plan> load_plan(const std::string& file) {
  return load("plan", file, read_plan);
}

Result<Plan> load_plan(const std::string& file, const Model& model) {
  auto plan = load_plan(file);
  if (!plan) return plan;
  if (!plan->model_hash.empty() && plan->model_hash != model.hash()) {
    return Error{Errc::PlanInvalid, fmt::format("plan '{}' is for model {}, this is model {}; plan again", file,
                                                plan->model_hash, model.hash())};
  }
  return plan;
}

std::string plan_text(const Plan& plan, const std::vector<NodeSpec>& nodes) {
  Table table({"pipeline", "node", "layers", "leaf modules", "time", "of bottleneck", "memory / limit", "hands on"});
  for (std::size_t p = 0; p < plan.pipelines.size(); ++p) {
    const double longest = bottleneck_us(plan.pipelines[p]);
    for (const Stage& stage : plan.pipelines[p].stages) {
      table.add({fmt::format("{}", p), stage.node, fmt::format("{}-{}", stage.first_layer, stage.last_layer),
                 fmt::format("{}", stage.leaf_modules), format_us(stage.time_us),
                 longest > 0 ? format_share(stage.time_us / longest) : "-", memory_text(stage, nodes),
                 stage.crossing.count > 0 ? format_bytes(stage.crossing) : "-"});
    }
  }
  std::string text = table.text();
  if (plan.predicted.throughput_rps > 0) {
    text += fmt::format("\npredicted{}: {:.1f} requests/s, {:.2f} ms for one request{}\n",
                        plan.predicted.estimated ? " by an estimate, nothing was measured" : "",
                        plan.predicted.throughput_rps, plan.predicted.latency_ms,
                        plan.predicted.price > 0 ? fmt::format(", price {:.3g}", plan.predicted.price) : "");
  }
  if (!plan.strategy.empty()) {
    text += fmt::format("strategy: {}; gap to the best plan: {}\n", plan.strategy,
                        plan.gap < 0 ? "not known" : format_share(plan.gap));
  }
  if (!plan.advice.empty()) text += fmt::format("advice: {}\n", plan.advice);
  return text;
}

}  // namespace amp4ec::cli
