// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/problem.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec {

/// Lengths agree, times and costs are finite and not negative, sums of memory stay in range: what every function of
/// the planner relies on. @error ProfileInvalid names the fault.
inline Result<void> validate_profile(const Profile& profile) {
  const auto refuse = [](std::string what) {
    return Error{Errc::ProfileInvalid, std::move(what) + "; measure the model again"};
  };
  const auto good = [](double value) { return std::isfinite(value) && value >= 0; };
  const LayerGraph& graph = profile.graph;
  const std::size_t layers = graph.layers.size();
  if (layers == 0) return refuse("the profile has no layers");
  if (graph.cuts.size() + 1 != layers || profile.layer_us.size() != layers ||
      profile.cut_costs.size() != graph.cuts.size()) {
    return refuse(
        fmt::format("the profile has {} layers, {} layer times, {} cuts and {} costs of cuts; they do not match",
                    layers, profile.layer_us.size(), graph.cuts.size(), profile.cut_costs.size()));
  }
  if (!good(profile.whole_us) || profile.whole_us <= 0) return refuse("the time of the whole model is not positive");
  if (!good(profile.spread)) return refuse("the spread of the model's time is not a positive number");

  if (!good(profile.contention.slowdown) || profile.contention.slowdown < 1 || profile.contention.cpus < 1)
    return refuse("the slowdown by contention is not a number from 1");

  double memory =
      static_cast<double>(profile.process_memory.count) + static_cast<double>(profile.peak_activation.count);
  for (std::size_t i = 0; i < layers; ++i) {
    memory += 2 * static_cast<double>(graph.layers[i].weights.count);
    if (!good(graph.layers[i].flops) || !good(profile.layer_us[i])) {
      return refuse(fmt::format("layer {} ('{}') has an impossible time or flops", i, graph.layers[i].name));
    }
  }
  memory += static_cast<double>(profile.whole_memory.count);
  if (memory >= 0x1p62) return refuse("the layers together need more memory than any machine has");
  const bool has_memory = profile.whole_memory.count > 0;
  if (has_memory && profile.process_memory > profile.whole_memory) return refuse("a process needs more than the model");
  Bytes prefix = profile.process_memory;
  Bytes suffix = profile.whole_memory;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    const CutCost& cost = profile.cut_costs[i];
    if (!good(cost.prefix_us) || !good(cost.suffix_us)) {
      return refuse(fmt::format("the cut after layer {} has an impossible time", i));
    }
    if (!has_memory) continue;
    if (cost.prefix_memory < prefix || cost.prefix_memory > profile.whole_memory || cost.suffix_memory > suffix ||
        cost.suffix_memory < profile.process_memory) {
      return refuse(fmt::format("memory falls where the segment before or after the cut at layer {} grows", i));
    }
    prefix = cost.prefix_memory;
    suffix = cost.suffix_memory;
  }
  for (const SegmentCost& segment : profile.segments) {
    if (segment.first_layer > segment.last_layer || segment.last_layer >= layers || !good(segment.us) ||
        segment.memory.count >> 62 != 0) {
      return refuse(
          fmt::format("segment {} to {} is impossible, or costs so", segment.first_layer, segment.last_layer));
    }
  }
  for (const LeafModule& leaf : graph.leaves) {
    if (!good(leaf.cost) || leaf.first_layer > layers) {
      return refuse(fmt::format("leaf module '{}' has an impossible cost or layer", leaf.name));
    }
  }
  return {};
}

/// Every pin names a node and layers that exist, and no layer is pinned to two nodes. @error InvalidArgument otherwise.
inline Result<void> validate_pins(std::span<const Pin> pins, std::span<const NodeSpec> nodes, std::size_t layers) {
  std::vector<const Pin*> owner(layers, nullptr);
  for (const Pin& pin : pins) {
    const auto refuse = [&](std::string_view why) {
      return Error{Errc::InvalidArgument,
                   fmt::format("pin of layers {} to {} to '{}': {}", pin.first_layer, pin.last_layer, pin.node, why)};
    };
    if (pin.first_layer > pin.last_layer) return refuse("the last layer comes before the first");
    if (pin.last_layer >= layers) return refuse(fmt::format("the model's last layer is {}", layers - 1));
    if (std::ranges::find(nodes, pin.node, &NodeSpec::name) == nodes.end()) return refuse("there is no such node");
    for (std::size_t layer = pin.first_layer; layer <= pin.last_layer; ++layer) {
      if (owner[layer] != nullptr && owner[layer]->node != pin.node) {
        return refuse(fmt::format("layer {} is pinned to '{}' as well", layer, owner[layer]->node));
      }
      owner[layer] = &pin;
    }
  }
  return {};
}

/// Profile, nodes, links, pins, forbidden cuts and bounds are valid each and together.
/// @error ProfileInvalid, or InvalidArgument for everything but the profile.
inline Result<void> validate_problem(const Problem& problem) {
  if (auto valid = validate_profile(problem.profile); !valid) return valid;
  if (auto valid = validate_nodes(problem.nodes); !valid) return valid;
  if (auto valid = validate_links(problem.links, problem.nodes); !valid) return valid;
  const LayerGraph& graph = problem.profile.graph;
  if (auto valid = validate_pins(problem.pins, problem.nodes, graph.layers.size()); !valid) return valid;
  for (const std::size_t cut : problem.forbidden_cuts) {
    if (cut < graph.cuts.size()) continue;
    return Error{Errc::InvalidArgument,
                 fmt::format("cut {} is forbidden, but the model has {} cuts, counted from 0", cut, graph.cuts.size())};
  }
  if (problem.max_pipelines > 0 && problem.pipelines > problem.max_pipelines) {
    return Error{Errc::InvalidArgument, fmt::format("exactly {} pipelines are asked for, and at most {}",
                                                    problem.pipelines, problem.max_pipelines)};
  }
  return {};
}

/// Every pipeline covers every layer once and in order, on known nodes, and cuts only where a cut is valid. A node may
/// hold several stages, of one pipeline or of several. A model that keeps state has one pipeline. Memory is
/// `check_memory`'s matter.
/// @error PlanInvalid where the plan contradicts the model, the nodes or itself; CutRejected with the cut's reason.
inline Result<void> validate_plan(const Plan& plan, const LayerGraph& graph, std::span<const NodeSpec> nodes) {
  const auto refuse = [](std::string what) { return Error{Errc::PlanInvalid, std::move(what)}; };
  if (graph.layers.empty() || graph.cuts.size() + 1 != graph.layers.size()) return refuse("the layer graph is empty");
  if (!plan.model_hash.empty() && !graph.model_hash.empty() && plan.model_hash != graph.model_hash) {
    return refuse(
        fmt::format("the plan was made for model {}, this is model {}; plan again", plan.model_hash, graph.model_hash));
  }
  if (plan.pipelines.empty()) return refuse("the plan has no pipeline");
  if (const auto stateful = std::ranges::find(graph.layers, true, &Layer::stateful);
      stateful != graph.layers.end() && plan.pipelines.size() > 1) {
    return refuse(fmt::format("{} pipelines, but layer '{}' keeps state, which one worker has to own; plan for one",
                              plan.pipelines.size(), stateful->name));
  }
  const std::size_t layers = graph.layers.size();
  for (std::size_t p = 0; p < plan.pipelines.size(); ++p) {
    std::size_t next = 0;
    for (std::size_t s = 0; s < plan.pipelines[p].stages.size(); ++s) {
      const Stage& stage = plan.pipelines[p].stages[s];
      const auto where = [&] { return fmt::format("pipeline {}, stage {} (on '{}')", p, s, stage.node); };
      if (std::ranges::find(nodes, stage.node, &NodeSpec::name) == nodes.end()) {
        return refuse(fmt::format("{}: there is no such node", where()));
      }
      if (stage.first_layer != next) {
        return refuse(fmt::format("{}: starts at layer {}, but {} comes next", where(), stage.first_layer, next));
      }
      if (stage.last_layer < stage.first_layer || stage.last_layer >= layers) {
        return refuse(fmt::format("{}: ends at layer {}; it starts at {} and the model's last layer is {}", where(),
                                  stage.last_layer, stage.first_layer, layers - 1));
      }
      next = stage.last_layer + 1;
      if (next < layers && !graph.cuts[stage.last_layer].valid) {
        return Error{Errc::CutRejected, fmt::format("{}: a cut after layer {} ('{}') would change the answer: {}",
                                                    where(), stage.last_layer, graph.layers[stage.last_layer].name,
                                                    graph.cuts[stage.last_layer].reason)};
      }
    }
    if (next != layers) {
      return refuse(fmt::format("pipeline {} ends before layer {} of {}; cover them all", p, next, layers));
    }
  }
  return {};
}

}  // namespace amp4ec
