// SPDX-License-Identifier: Apache-2.0
#include "simulation_report.hpp"

#include "table.hpp"
#include "text.hpp"

#include <amp4ec/plan/plan_json.hpp>

#include <fmt/format.h>
#include <boost/json/array.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

json::object queue_json(const QueueFigures& queue) {
  return {{"mean", queue.mean}, {"max", queue.max}};
}

json::object arrivals_json(const Arrivals& arrivals) {
  switch (arrivals.kind) {
    case ArrivalKind::closed_loop: {
      json::object object{{"kind", "closed-loop"}};
      if (arrivals.in_flight != Arrivals::as_admitted) object["in_flight"] = arrivals.in_flight;
      return object;
    }
    case ArrivalKind::poisson: return {{"kind", "poisson"}, {"rate_rps", arrivals.rate_rps}};
    case ArrivalKind::constant: return {{"kind", "constant"}, {"rate_rps", arrivals.rate_rps}};
    case ArrivalKind::times: break;
  }
  return {{"kind", "times"}};
}

json::array stages_json(const Simulation& simulation) {
  json::array stages;
  for (const SimulatedStage& stage : simulation.stages) {
    stages.push_back(json::object{{"node", stage.node},
                                  {"first_layer", stage.first_layer},
                                  {"last_layer", stage.last_layer},
                                  {"requests", stage.requests},
                                  {"busy", stage.busy},
                                  {"service_us", stage.service_us},
                                  {"wait_us", stage.wait_us},
                                  {"queue", queue_json(stage.queue)},
                                  {"failures", stage.failures}});
  }
  return stages;
}

json::array links_json(const Simulation& simulation) {
  json::array links;
  for (const SimulatedLink& link : simulation.links) {
    links.push_back(json::object{{"from", link.from},
                                 {"to", link.to},
                                 {"messages", link.messages},
                                 {"busy", link.busy},
                                 {"wait_us", link.wait_us},
                                 {"queue", queue_json(link.queue)},
                                 {"failures", link.failures}});
  }
  return links;
}

json::array nodes_json(const Simulation& simulation) {
  json::array nodes;
  for (const SimulatedNode& node : simulation.nodes) {
    nodes.push_back(json::object{{"name", node.name}, {"utilisation", node.utilisation}});
  }
  return nodes;
}

json::array timeline_json(const Simulation& simulation) {
  json::array timeline;
  for (const SimulatedSlice& slice : simulation.timeline) {
    timeline.push_back(json::object{{"second", slice.second},
                                    {"throughput_rps", slice.throughput_rps},
                                    {"p99_ms", slice.p99_ms ? json::value(*slice.p99_ms) : json::value(nullptr)}});
  }
  return timeline;
}

/// The outages that were asked for, in the order of their times; those at random are counted with the stages.
json::array events_json(const SimulationReport& report) {
  std::vector<std::pair<double, std::string>> events;
  for (const Outage& outage : report.options.outages) {
    const std::string what = fmt::format("{} '{}'", outage.is_link() ? "link" : "node", outage.name());
    events.emplace_back(outage.at_s, what + " fails");
    if (std::isfinite(outage.duration_s)) events.emplace_back(outage.at_s + outage.duration_s, what + " is back");
  }
  std::ranges::stable_sort(events, {}, &std::pair<double, std::string>::first);
  json::array array;
  for (const auto& event : events) array.push_back(json::object{{"second", event.first}, {"what", event.second}});
  return array;
}

std::string count_text(double count) {
  return fmt::format("{:.1f}", count);
}

std::string workers_text(const SimulationReport& report) {
  Table table({"node", "layers", "CPU quota", "CPU used", "requests", "busy", "service", "waits", "queue", "longest",
               "failures"});
  for (const SimulatedStage& stage : report.simulation.stages) {
    const auto node = std::ranges::find(report.nodes, stage.node, &NodeSpec::name);
    const auto used = std::ranges::find(report.simulation.nodes, stage.node, &SimulatedNode::name);
    table.add({stage.node, fmt::format("{}-{}", stage.first_layer, stage.last_layer),
               fmt::format("{:.2f}", node->cpus.count), format_share(used->utilisation), std::to_string(stage.requests),
               format_share(stage.busy), format_us(stage.service_us), format_us(stage.wait_us),
               count_text(stage.queue.mean), std::to_string(stage.queue.max), std::to_string(stage.failures)});
  }
  return table.text();
}

std::string links_text(const SimulationReport& report) {
  if (report.simulation.links.empty()) return "";
  Table table({"link", "messages", "busy", "waits", "queue", "longest", "failures"});
  for (const SimulatedLink& link : report.simulation.links) {
    table.add({fmt::format("{} -> {}", link.from, link.to), std::to_string(link.messages), format_share(link.busy),
               format_us(link.wait_us), count_text(link.queue.mean), std::to_string(link.queue.max),
               std::to_string(link.failures)});
  }
  return table.text() + "\n";
}

std::string figures_text(const SimulationReport& report) {
  const auto number = [](double value) { return fmt::format("{:.2f}", value); };
  const LatencyFigures& latency = report.simulation.latency_ms;
  Table table({"", "requests/s", "mean ms", "p50 ms", "p90 ms", "p99 ms", "max ms"});
  table.add({"simulated", number(report.simulation.throughput_rps), number(latency.mean), number(latency.p50),
             number(latency.p90), number(latency.p99), number(latency.max)});
  if (report.plan.predicted.throughput_rps > 0) {
    table.add({"predicted: kept full, one alone", number(report.plan.predicted.throughput_rps),
               number(report.plan.predicted.latency_ms), "-", "-", "-", "-"});
  }
  return table.text();
}

std::string arrivals_text(const Arrivals& arrivals) {
  if (arrivals.kind == ArrivalKind::poisson) return fmt::format("Poisson, {} a second", arrivals.rate_rps);
  if (arrivals.kind == ArrivalKind::constant) return fmt::format("{} a second, evenly", arrivals.rate_rps);
  if (arrivals.in_flight == Arrivals::as_admitted) return "as many in flight as are admitted";
  return fmt::format("{} in flight", arrivals.in_flight);
}

std::string summary_text(const SimulationReport& report) {
  const Simulation& s = report.simulation;
  std::string text = fmt::format("{} requests ({}) in {:.1f} s, {}: {} answered, {} lost, {} refused, {} sent again\n",
                                 s.requests, arrivals_text(report.options.arrivals), s.seconds, report.policy,
                                 s.answered, s.lost, s.refused, s.replayed);
  text += fmt::format("in the system {:.1f}, of these waiting to be sent {:.1f}, at most {}\n", s.mean_in_system,
                      s.waiting.mean, s.waiting.max);
  if (!s.stable) text += fmt::format("NOT stable: the queue grows by {:.2f} requests a second\n", s.growth_rps);
  return text;
}

}  // namespace

json::object simulation_json(const SimulationReport& report) {
  const Simulation& simulation = report.simulation;
  const LatencyFigures& latency = simulation.latency_ms;
  json::object object = plan_to_json(report.plan);
  object["policy"] = report.policy;
  object["arrivals"] = arrivals_json(report.options.arrivals);
  object["seed"] = report.options.seed;
  object["requests"] = simulation.requests;
  object["answered"] = simulation.answered;
  object["seconds"] = simulation.seconds;
  object["throughput_rps"] = simulation.throughput_rps;
  object["latency_ms"] = {
      {"mean", latency.mean}, {"p50", latency.p50}, {"p90", latency.p90}, {"p99", latency.p99}, {"max", latency.max}};
  object["stable"] = simulation.stable;
  object["growth_rps"] = simulation.growth_rps;
  object["mean_in_system"] = simulation.mean_in_system;
  object["waiting"] = queue_json(simulation.waiting);
  object["stages"] = stages_json(simulation);
  object["links"] = links_json(simulation);
  object["nodes"] = nodes_json(simulation);
  object["lost"] = simulation.lost;
  object["duplicated"] = simulation.duplicated;
  object["refused"] = simulation.refused;
  object["replayed"] = simulation.replayed;
  object["steps"] = simulation.events;
  object["slice_s"] = simulation.slice_s;
  object["timeline"] = timeline_json(simulation);
  object["events"] = events_json(report);
  return object;
}

std::string simulation_text(const SimulationReport& report) {
  return workers_text(report) + "\n" + links_text(report) + figures_text(report) + "\n" + summary_text(report);
}

}  // namespace amp4ec::cli
