// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/large_plan.hpp>
#include <amp4ec/plan/detail/one_pipeline.hpp>
#include <amp4ec/plan/detail/several_pipelines.hpp>
#include <amp4ec/plan/detail/shared_search.hpp>
#include <amp4ec/plan/evaluate.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// How many pipelines the plan of a problem may have. A model that keeps state has one, because one worker owns that;
/// so has one with pins, because every pipeline would need the pinned node and a node serves one pipeline.
inline PipelineBounds pipeline_bounds(const Problem& problem) {
  const bool stateful = std::ranges::any_of(problem.profile.graph.layers, &Layer::stateful);
  PipelineBounds bounds{problem.pipelines, problem.max_pipelines};
  if (bounds.most >= problem.nodes.size()) bounds.most = 0;
  if (problem.nodes.size() == 1 || stateful || !problem.pins.empty()) bounds.most = 1;
  if (bounds.exactly > 0) bounds.most = bounds.most == 0 ? bounds.exactly : std::min(bounds.most, bounds.exactly);
  return bounds;
}

/// The best plan in which a node holds one stage, by the exact search that is quickest for it, or by the large one.
inline Answer search_unshared(const Problem& problem, const SearchSpace& space, PipelineBounds bounds) {
  const std::size_t max_stages = problem.max_stages;
  if (bounds.most == 1) {
    const Counts counts = useful_counts(space, max_stages);
    OnePipeline search(space, counts, max_stages);
    return search.affordable() ? search.solve(problem.objective)
                               : LargePipeline(space, counts, max_stages).solve(problem.objective);
  }
  Counts counts;
  for (std::size_t k = 0; k < space.kinds(); ++k) {
    counts.push_back(static_cast<std::uint32_t>(space.kind(k).nodes.size()));
  }
  SeveralPipelines search(space, counts, bounds, max_stages);
  return search.affordable() ? search.solve(problem.objective)
                             : LargePlan(space, counts, bounds, max_stages).solve(problem.objective);
}

/// The plan of an answer, not evaluated; nodes of one kind are taken in the problem's order.
inline Plan to_plan(const Problem& problem, const Answer& answer) {
  const SearchSpace space(problem);
  std::vector<std::size_t> used(space.kinds(), 0);
  Plan plan;
  plan.model_hash = problem.profile.graph.model_hash;
  plan.strategy = "optimal";
  plan.objective = to_string(problem.objective);
  for (const Pieces& pieces : answer.pipelines) {
    Pipeline& pipeline = plan.pipelines.emplace_back();
    for (const Piece& piece : pieces) {
      Stage& stage = pipeline.stages.emplace_back();
      const std::size_t next = problem.shared_nodes ? 0 : used[piece.kind]++;
      stage.node = problem.nodes[space.kind(piece.kind).nodes[next]].name;
      stage.first_layer = space.segments().first_layer(piece.from);
      stage.last_layer = space.segments().last_layer(piece.to);
    }
  }
  return plan;
}

/// The largest memory that a node must hold.
inline Bytes largest_memory(const Plan& plan) {
  std::map<std::string_view, Bytes> held;
  Bytes largest;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) largest = std::max(largest, held[stage.node] += stage.memory);
  }
  return largest;
}

/// How far an evaluated plan may be from the best: |value - bound| / bound; 0 if the search was exact.
inline double gap(Objective objective, const Plan& plan, const Answer& answer) {
  if (answer.exact) return 0;
  double value = plan.predicted.throughput_rps;
  if (objective == Objective::latency) value = plan.predicted.latency_ms * 1e3;
  if (objective == Objective::memory) value = static_cast<double>(largest_memory(plan).count);
  return answer.bound > 0 ? std::abs(value - answer.bound) / answer.bound : infinity;
}

/// What no pipeline is below with one request alone: each unit by itself on the node that is quickest with it. Work in
/// one piece meets no fewer pauses than in parts that each find a node with nothing to do.
inline double least_alone_us(const Problem& problem) {
  const Segments segments(problem.profile, problem.forbidden_cuts);
  double sum_us = 0;
  for (std::size_t unit = 0; unit < segments.end(); ++unit) {
    const double work_us = segments.share_us(unit + 1) - segments.share_us(unit);
    double least_us = infinity;
    for (const NodeSpec& node : problem.nodes)
      least_us = std::min(least_us, alone_us(work_us, node_speed(node), node.period_us));
    sum_us += least_us;
  }
  return sum_us;
}

/// The best plan of a problem; without pipelines if none was found.
inline Answer search_optimal(const Problem& problem) {
  const PipelineBounds bounds = pipeline_bounds(problem);
  if (bounds.most > 0 && bounds.exactly > bounds.most) return {{}, true};
  if (bounds.exactly > problem.nodes.size()) return {{}, true};
  const SearchSpace space(problem);
  // What was found without bursts is a plan, and what was proven is not.
  const auto with_bursts = [&](Answer answer) {
    if (space.leaves_out_bursts() && !answer.pipelines.empty()) {
      answer.exact = false;
      answer.bound = least_alone_us(problem);
    }
    return answer;
  };
  if (!problem.shared_nodes) return with_bursts(search_unshared(problem, space, bounds));
  const std::vector<NodeKind> alike = KindFinder(problem, false).take();
  Answer shared = SharedSearch(space, alike, bounds, problem.max_stages).solve(problem.objective);
  if (shared.exact) return with_bursts(std::move(shared));
  // Plans with one stage a node are plans too: the better of the two.
  Answer unshared = search_unshared(problem, space, bounds);
  const auto distance = [&](Answer& answer) {
    answer.exact = false;
    answer.bound = SharedSearch::bound(space, problem.objective);
    answer = with_bursts(std::move(answer));
    if (answer.pipelines.empty()) return infinity;
    const auto plan = evaluate(to_plan(problem, answer), problem.profile, problem.nodes, problem.links);
    return plan ? gap(problem.objective, *plan, answer) : infinity;
  };
  return distance(shared) < distance(unshared) ? shared : unshared;
}

/// What whole-model replicas give: one on each node that holds the model, whatever the bounds and pins of the problem.
struct Replicas {
  std::size_t nodes = 0;
  double throughput_rps = 0;
};

inline Replicas replicas_everywhere(const Problem& problem) {
  const std::size_t last = problem.profile.graph.layers.size() - 1;
  const Bytes memory = segment_memory(problem.profile, 0, last);
  const double slowdown = slowdown_when_full(problem.profile, problem.nodes);
  Replicas replicas;
  for (const NodeSpec& node : problem.nodes) {
    if (!fits(node, memory)) continue;
    ++replicas.nodes;
    replicas.throughput_rps += rate_rps(slowdown * stage_time_us(problem.profile, node, 0, last));
  }
  return replicas;
}

/// Says what splitting brings.
inline std::string advise_on_splitting(const Problem& problem, const Plan& plan, const Answer& answer) {
  const double replicas = replicas_everywhere(problem).throughput_rps;
  const bool split = std::ranges::any_of(plan.pipelines, [](const Pipeline& p) { return p.stages.size() > 1; });
  if (split) {
    if (replicas <= 0) return plan.advice + "; no node holds the whole model";
    return fmt::format("{}; whole-model replicas alone would give {:.1f} requests/s", plan.advice, replicas);
  }
  std::string alternative = "no pipeline of several stages gives more";
  if (answer.best_split > 0) {
    alternative = fmt::format("the best pipeline of two or more stages {:.1f}", answer.best_split);
  }
  if (answer.best_split == 0) alternative = "no split fits";
  if (plan.pipelines.size() == 1) {
    const char* opening = problem.nodes.size() == 1 ? "there is one node only" : "splitting does not help here";
    return fmt::format("{}: the whole model on '{}' gives {:.1f} requests/s, {}", opening,
                       plan.pipelines[0].stages[0].node, plan.predicted.throughput_rps, alternative);
  }
  return fmt::format(
      "splitting does not help here: one whole-model replica on each of {} nodes gives {:.1f} requests/s, {}",
      plan.pipelines.size(), plan.predicted.throughput_rps, alternative);
}

}  // namespace amp4ec::detail
