// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/explanation.hpp>
#include <amp4ec/plan/optimal.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Gains up to this are no gains: one tenth of a percent.
inline constexpr double worthless_gain = 1e-3;

inline Worth worth_of(const Plan& plan) {
  Worth worth{plan.predicted, {}};
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) worth.largest_stage = std::max(worth.largest_stage, stage.memory);
  }
  return worth;
}

/// How much better `to` is than `from` by the objective: 0.25 is a quarter more throughput, or the time or memory of
/// four fifths; 0 is equal, negative is worse.
inline double gain(const Worth& from, const Worth& to, Objective objective) {
  const auto over = [](double larger, double smaller) {
    if (smaller > 0) return larger / smaller - 1;
    return larger > 0 ? std::numeric_limits<double>::infinity() : 0;
  };
  switch (objective) {
    case Objective::throughput: return over(to.predicted.throughput_rps, from.predicted.throughput_rps);
    case Objective::latency: return over(from.predicted.latency_ms, to.predicted.latency_ms);
    case Objective::memory:
      return over(static_cast<double>(from.largest_stage.count), static_cast<double>(to.largest_stage.count));
  }
  return 0;
}

/// By the objective; among equals (but for rounding) by what the objective breaks ties with.
inline bool better(const Worth& a, const Worth& b, Objective objective) {
  constexpr double rounding = 1e-9;
  const double by = gain(b, a, objective);
  if (std::abs(by) > rounding) return by > 0;
  const bool throughput = objective == Objective::throughput;
  return gain(b, a, throughput ? Objective::latency : Objective::throughput) > rounding;
}

/// "81.2 requests/s", "12.34 ms for one request", "310.0 MiB for the largest stage": what the objective looks at.
inline std::string worth_text(const Worth& worth, Objective objective) {
  switch (objective) {
    case Objective::throughput: return fmt::format("{:.1f} requests/s", worth.predicted.throughput_rps);
    case Objective::latency: return fmt::format("{:.2f} ms for one request", worth.predicted.latency_ms);
    case Objective::memory: return fmt::format("{} for the largest stage", format_bytes(worth.largest_stage));
  }
  return {};
}

/// The optimum, or nothing where there is none (or `optimal` does not take the problem).
inline std::optional<Plan> best_plan(const Problem& problem) {
  auto plan = plan_optimal(problem);
  if (!plan) return std::nullopt;
  return *std::move(plan);
}

inline std::optional<Plan> best_plan_with(const Problem& problem, const std::vector<NodeSpec>& nodes) {
  Problem changed = problem;
  changed.nodes = nodes;
  return best_plan(changed);
}

inline std::optional<Plan> best_plan_with(const Problem& problem, const std::vector<LinkSpec>& links) {
  Problem changed = problem;
  changed.links = links;
  return best_plan(changed);
}

inline std::vector<NodeSpec> nodes_of(const Problem& problem) {
  return {problem.nodes.begin(), problem.nodes.end()};
}

inline std::vector<NodeSpec> without_memory_limits(const Problem& problem) {
  std::vector<NodeSpec> nodes = nodes_of(problem);
  for (NodeSpec& node : nodes) node.memory = Bytes{};
  return nodes;
}

/// The best plan in which no stage has all the weights: every pipeline is split. Each node's limit falls just below
/// what the whole model needs.
inline std::optional<Plan> best_split_plan(const Problem& problem) {
  const Bytes whole = segment_memory(problem.profile, 0, problem.profile.graph.layers.size() - 1);
  if (whole.count < 2) return std::nullopt;
  const Bytes less{whole.count - 1};
  std::vector<NodeSpec> nodes = nodes_of(problem);
  for (NodeSpec& node : nodes) node.memory = node.memory.count == 0 ? less : std::min(node.memory, less);
  return best_plan_with(problem, nodes);
}

/// CPU time that one request takes at the least, in microseconds: whatever the cuts, its stages add up to no less.
inline double least_work_us(const Profile& profile) {
  return std::min(profile.whole_us, std::accumulate(profile.layer_us.begin(), profile.layer_us.end(), 0.0));
}

/// What no plan within the problem's bounds can exceed: the work of a request shared out without loss over the fastest
/// nodes that the bounds admit, one request alone by `least_alone_us`.
inline Prediction ideal(const Problem& problem) {
  std::vector<double> speeds;
  for (const NodeSpec& node : problem.nodes) speeds.push_back(node_speed(node));
  std::ranges::sort(speeds, std::greater<>());
  const std::size_t pipelines = problem.pipelines > 0 ? problem.pipelines : problem.max_pipelines;
  if (pipelines > 0 && problem.max_stages > 0) {
    const std::size_t most = std::min(pipelines, speeds.size()) * std::min(problem.max_stages, speeds.size());
    speeds.resize(std::min(speeds.size(), most));
  }
  const double work_us = least_work_us(problem.profile);
  const double speed = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  const double slowdown = slowdown_when_full(problem.profile, problem.nodes);
  return {rate_rps(slowdown * work_us / speed), least_alone_us(problem) / 1e3, slowdown};
}

/// The same stages on the same nodes, whatever else the plans say.
inline bool same_layout(const Plan& a, const Plan& b) {
  const auto pipelines = [](const Plan& plan) {
    std::vector<std::string> lines;
    for (const Pipeline& pipeline : plan.pipelines) {
      Plan alone;
      alone.pipelines = {pipeline};
      lines.push_back(layout(alone));
    }
    std::ranges::sort(lines);
    return lines;
  };
  return pipelines(a) == pipelines(b);
}

}  // namespace amp4ec::detail
