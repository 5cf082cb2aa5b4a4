// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/arrivals.hpp>
#include <amp4ec/plan/problem.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// A plan as a network of queues. Stations serve one message at a time: first the plan's workers, then the links that
/// it uses. A station stands on a host, with which it shares a quota: worker on node; each link has a host to itself.
/// A route is a pipeline: its steps lead from station to station.
struct PlanNetwork {
  struct Step {
    std::uint32_t station = 0;
    double work_us = 0;  ///< CPU time for a worker, time for a link.
    double time_us = 0;  ///< What that takes when nothing else is on the host.
  };
  struct Worker {
    const Stage* stage = nullptr;
    std::uint32_t node = 0;
  };

  double slowdown = 1;  ///< `Prediction::slowdown`
  std::vector<Worker> workers;
  std::vector<const LinkSpec*> links;
  std::vector<std::uint32_t> host_of;                      ///< For each station. Hosts: the nodes, then the links.
  std::vector<std::vector<std::uint32_t>> stations;        ///< For each host.
  std::vector<Step> steps;                                 ///< Of all routes, one after the other.
  std::vector<std::uint32_t> first_step;                   ///< For each route, and one past the last.
  std::vector<std::vector<std::uint32_t>> routes_through;  ///< For each station.
  std::vector<std::vector<std::uint32_t>> neighbours;      ///< For each route, those that share a worker, and itself.

  [[nodiscard]] std::size_t routes() const noexcept { return first_step.size() - 1; }
  [[nodiscard]] bool is_worker(std::size_t station) const noexcept { return station < workers.size(); }
  [[nodiscard]] std::span<const Step> steps_of(std::size_t route) const noexcept {
    return {steps.data() + first_step[route], steps.data() + first_step[route + 1]};
  }
};

/// What a simulation needs of a plan: it agrees with the nodes and itself, and its stages have times.
/// @error PlanInvalid
inline Result<void> validate_simulated_plan(const Plan& plan, std::span<const NodeSpec> nodes) {
  const auto refuse = [](std::string what) { return Error{Errc::PlanInvalid, std::move(what)}; };
  if (plan.pipelines.empty()) return refuse("the plan has no pipeline");
  if (!(plan.predicted.slowdown >= 1 && plan.predicted.slowdown <= 1000))
    return refuse(fmt::format("a slowdown of {}; it is a factor from 1", plan.predicted.slowdown));
  std::set<std::string_view> names;
  for (const NodeSpec& node : nodes) names.insert(node.name);
  std::size_t layers = 0;
  for (std::size_t p = 0; p < plan.pipelines.size(); ++p) {
    const auto& stages = plan.pipelines[p].stages;
    if (stages.empty()) return refuse(fmt::format("pipeline {} has no stage", p));
    std::size_t next = 0;
    double time_us = 0;
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const Stage& stage = stages[s];
      const auto where = [&] { return fmt::format("pipeline {}, stage {} (on '{}')", p, s, stage.node); };
      if (!names.contains(stage.node)) return refuse(fmt::format("{}: there is no such node", where()));
      if (stage.first_layer != next || stage.last_layer < stage.first_layer) {
        return refuse(fmt::format("{}: has layers {} to {}, but {} comes next", where(), stage.first_layer,
                                  stage.last_layer, next));
      }
      if (!(stage.time_us >= 0 && stage.time_us <= 1e6 * longest_simulated_s)) {
        return refuse(fmt::format("{}: takes {} us; a time is finite and not negative", where(), stage.time_us));
      }
      next = stage.last_layer + 1;
      time_us += stage.time_us;
    }
    if (p == 0) layers = next;
    if (next != layers) return refuse(fmt::format("pipeline {} has {} layers, pipeline 0 has {}", p, next, layers));
    if (time_us <= 0) {
      return refuse(
          fmt::format("pipeline {} takes no time: the plan does not say how long its stages take; evaluate "
                      "it with a profile first",
                      p));
    }
  }
  return {};
}

namespace plan_network {

/// Numbers what comes, in the order of its first coming.
template <class Key>
class Numbering {
 public:
  /// The number of this key, and whether it is new.
  std::pair<std::uint32_t, bool> number(const Key& key) {
    const auto [entry, added] = numbers_.try_emplace(key, static_cast<std::uint32_t>(numbers_.size()));
    return {entry->second, added};
  }

 private:
  std::map<Key, std::uint32_t> numbers_;
};

/// For each route, those that share a worker with it, and itself.
inline void find_neighbours(PlanNetwork& network) {
  network.neighbours.resize(network.routes());
  for (std::size_t r = 0; r < network.routes(); ++r) {
    auto& neighbours = network.neighbours[r];
    for (const PlanNetwork::Step& step : network.steps_of(r)) {
      if (!network.is_worker(step.station)) continue;
      const auto& through = network.routes_through[step.station];
      neighbours.insert(neighbours.end(), through.begin(), through.end());
    }
    std::ranges::sort(neighbours);
    neighbours.erase(std::unique(neighbours.begin(), neighbours.end()), neighbours.end());
  }
}

}  // namespace plan_network

/// Borrows plan, nodes and links. @pre they are valid, each and together
inline PlanNetwork make_plan_network(const Plan& plan, std::span<const NodeSpec> nodes,
                                     std::span<const LinkSpec> links) {
  using WorkerKey = std::tuple<std::uint32_t, std::size_t, std::size_t>;
  PlanNetwork network;
  network.slowdown = plan.predicted.slowdown;
  std::unordered_map<std::string_view, std::uint32_t> node_numbers;
  for (const NodeSpec& node : nodes) node_numbers.emplace(node.name, static_cast<std::uint32_t>(node_numbers.size()));
  using Ends = std::pair<std::string_view, std::string_view>;
  std::map<Ends, const LinkSpec*> link_between;
  for (const LinkSpec& link : links) link_between.emplace(Ends(link.from, link.to), &link);

  plan_network::Numbering<WorkerKey> worker_numbers;
  const auto worker_of = [&](const Stage& stage) {
    const std::uint32_t node = node_numbers.find(stage.node)->second;
    const auto numbered = worker_numbers.number({node, stage.first_layer, stage.last_layer});
    if (numbered.second) network.workers.push_back({&stage, node});
    return numbered.first;
  };
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) worker_of(stage);
  }

  plan_network::Numbering<const LinkSpec*> link_numbers;
  for (const Pipeline& pipeline : plan.pipelines) {
    network.first_step.push_back(static_cast<std::uint32_t>(network.steps.size()));
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      const Stage& stage = pipeline.stages[s];
      const NodeSpec& node = nodes[node_numbers.find(stage.node)->second];
      network.steps.push_back({worker_of(stage), stage.time_us * node_speed(node), stage.time_us});
      if (s + 1 == pipeline.stages.size()) break;
      const auto link = link_between.find(Ends(stage.node, pipeline.stages[s + 1].node));
      if (link == link_between.end()) continue;  // sending costs nothing
      const auto numbered = link_numbers.number(link->second);
      if (numbered.second) network.links.push_back(link->second);
      const auto station = static_cast<std::uint32_t>(network.workers.size()) + numbered.first;
      const double time_us = link_time_us(link->second, stage.crossing);
      network.steps.push_back({station, time_us, time_us});
    }
  }
  network.first_step.push_back(static_cast<std::uint32_t>(network.steps.size()));

  network.stations.resize(nodes.size() + network.links.size());
  for (std::uint32_t station = 0; station < network.workers.size() + network.links.size(); ++station) {
    const auto host = network.is_worker(station)
                          ? network.workers[station].node
                          : static_cast<std::uint32_t>(nodes.size() + station - network.workers.size());
    network.host_of.push_back(host);
    network.stations[host].push_back(station);
  }
  network.routes_through.resize(network.host_of.size());
  for (std::uint32_t r = 0; r < network.routes(); ++r) {
    for (const PlanNetwork::Step& step : network.steps_of(r)) {
      auto& routes = network.routes_through[step.station];
      if (routes.empty() || routes.back() != r) routes.push_back(r);  // a link may be used twice
    }
  }
  plan_network::find_neighbours(network);
  return network;
}

}  // namespace amp4ec::detail
