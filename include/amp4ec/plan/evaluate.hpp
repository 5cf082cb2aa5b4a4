// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/advice.hpp>
#include <amp4ec/plan/validate.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

namespace amp4ec {

/// Leaf modules whose work begins in layers first..last. One that works after the last layer counts for the last.
inline std::size_t leaf_modules(const LayerGraph& graph, std::size_t first, std::size_t last) {
  return static_cast<std::size_t>(std::ranges::count_if(graph.leaves, [&](const LeafModule& leaf) {
    const std::size_t layer = std::min(leaf.first_layer, graph.layers.size() - 1);
    return first <= layer && layer <= last;
  }));
}

/// What each node must hold, by each stage's `memory`; stages with the same node and layers are one worker. Nodes
/// without a stage are left out. The names are the plan's.
inline std::map<std::string_view, Bytes> memory_needed(const Plan& plan) {
  std::set<std::tuple<std::string_view, std::size_t, std::size_t>> workers;
  std::map<std::string_view, Bytes> needed;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) {
      if (workers.emplace(stage.node, stage.first_layer, stage.last_layer).second) needed[stage.node] += stage.memory;
    }
  }
  return needed;
}

/// Whether the workers of a plan fit their nodes, by `memory_needed`.
/// @error PlanInfeasible names the node, what it must hold and what it has.
inline Result<void> check_memory(const Plan& plan, std::span<const NodeSpec> nodes) {
  const std::map<std::string_view, Bytes> needed = memory_needed(plan);
  for (const NodeSpec& node : nodes) {
    const auto need = needed.find(node.name);
    if (need != needed.end() && !fits(node, need->second)) {
      return Error{Errc::PlanInfeasible,
                   fmt::format("node '{}' would need {}, but has {}; move layers off it or raise its limit", node.name,
                               format_bytes(need->second), format_bytes(node.memory))};
    }
  }
  return {};
}

/// Checks a plan, e.g. one edited by hand, and fills in what is predicted of it: each stage's time, memory, crossing,
/// form and leaf modules, `predicted` and `advice`; `gap` becomes unknown (-1).
///
/// Throughput of a pipeline = 1 / max over its stages and links of their times, the stages' by `slowdown_when_full`; of
/// a plan = the sum over its pipelines. Latency = sum of the times of stages (`stage_alone_us`) and links, of the
/// fastest pipeline. A node or link that serves several stages is charged the sum of their times in each: what is
/// predicted then can be reached with equal rates, if not exceeded. A plan that does not fit a node's memory is no
/// error here, but the advice says so: see `check_memory`.
/// @error what `validate_problem` and `validate_plan` refuse.
inline Result<Plan> evaluate(Plan plan, const Profile& profile, std::span<const NodeSpec> nodes,
                             std::span<const LinkSpec> links = {}) {
  if (const auto valid = validate_problem({profile, nodes, links}); !valid) return valid.error();
  if (const auto valid = validate_plan(plan, profile.graph, nodes); !valid) return valid.error();

  for (Pipeline& pipeline : plan.pipelines) {
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      Stage& stage = pipeline.stages[s];
      const bool at_end = s + 1 == pipeline.stages.size();
      stage.time_us = stage_time_us(profile, *std::ranges::find(nodes, stage.node, &NodeSpec::name), stage.first_layer,
                                    stage.last_layer);
      stage.memory = segment_memory(profile, stage.first_layer, stage.last_layer);
      stage.crossing = at_end ? Bytes{} : profile.graph.cuts[stage.last_layer].crossing;
      stage.leaf_modules = leaf_modules(profile.graph, stage.first_layer, stage.last_layer);
      stage.form = found_form(profile, stage.first_layer, stage.last_layer);
    }
  }
  const double slowdown = slowdown_when_full(profile, nodes);
  const detail::Charges charges = detail::charges_of(plan, links, slowdown);

  plan.predicted = {0, std::numeric_limits<double>::infinity(), slowdown};
  for (const Pipeline& pipeline : plan.pipelines) {
    double latency_us = 0;
    double price = 0;
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      const Stage& stage = pipeline.stages[s];
      const NodeSpec& node = *std::ranges::find(nodes, stage.node, &NodeSpec::name);
      latency_us += stage_alone_us(profile, node, stage.first_layer, stage.last_layer);
      price += node.price * stage.time_us * node_speed(node) / 1e6;
      if (s + 1 == pipeline.stages.size()) break;
      latency_us += link_time_us(find_link(links, stage.node, pipeline.stages[s + 1].node), stage.crossing);
    }
    const double rate = rate_rps(detail::bottleneck(pipeline, charges).time_us);
    plan.predicted.throughput_rps += rate;
    plan.predicted.latency_ms = std::min(plan.predicted.latency_ms, latency_us / 1e3);
    plan.predicted.price += rate * price;
  }
  // The mean over the pipelines, by their rates.
  if (plan.predicted.throughput_rps > 0) plan.predicted.price /= plan.predicted.throughput_rps;
  plan.predicted.estimated = profile.estimated;
  plan.gap = -1;
  const auto in_memory = check_memory(plan, nodes);
  plan.advice = in_memory ? detail::describe_bottleneck(plan, charges) : in_memory.error().message;
  return plan;
}

}  // namespace amp4ec
