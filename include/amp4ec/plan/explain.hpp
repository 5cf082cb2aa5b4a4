// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/binding_limit.hpp>
#include <amp4ec/plan/detail/splitting.hpp>
#include <amp4ec/plan/evaluate.hpp>
#include <amp4ec/plan/explanation.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec {

/// Up to so many nodes `explain` makes other plans to compare with.
inline constexpr std::size_t explain_max_nodes = 8;

namespace detail {

/// Fills in what the plan's own figures say. @pre plan is evaluated.
inline void describe_use(const Plan& plan, const Problem& problem, Explanation& explanation) {
  const double slowdown = plan.predicted.slowdown;
  const Charges charges = charges_of(plan, problem.links, slowdown);
  std::map<std::string_view, double> busy;
  std::map<std::pair<std::string_view, std::string_view>, LinkUse> links;
  for (const Pipeline& pipeline : plan.pipelines) {
    const Bottleneck worst = bottleneck(pipeline, charges);
    PipelineUse& use = explanation.pipelines.emplace_back();
    use = {worst.where, worst.link, pipeline.stages[worst.stage].node, worst.time_us, rate_rps(worst.time_us), 0};
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      const Stage& stage = pipeline.stages[s];
      const NodeSpec& node = *std::ranges::find(problem.nodes, stage.node, &NodeSpec::name);
      use.latency_ms += stage_alone_us(problem.profile, node, stage.first_layer, stage.last_layer) / 1e3;
      busy[stage.node] += slowdown * stage.time_us * use.throughput_rps / 1e6;
      if (s + 1 == pipeline.stages.size()) break;
      const Stage& next = pipeline.stages[s + 1];
      const double link_us = link_time_us(find_link(problem.links, stage.node, next.node), stage.crossing);
      if (link_us <= 0) continue;
      use.latency_ms += link_us / 1e3;
      LinkUse& link = links[{stage.node, next.node}];
      link = {stage.node, next.node, link.time_us + link_us, link.busy + link_us * use.throughput_rps / 1e6};
    }
  }
  const std::map<std::string_view, Bytes> memory = memory_needed(plan);
  for (const NodeSpec& node : problem.nodes) {
    const auto needed = memory.find(node.name);
    explanation.nodes.push_back(
        {node.name, busy[node.name], needed == memory.end() ? Bytes{} : needed->second, node.memory});
  }
  for (auto& [ends, link] : links) explanation.links.push_back(std::move(link));
}

inline void add_alternative(Explanation& explanation, const Plan& explained, std::string name,
                            const std::optional<Plan>& plan) {
  if (!plan) return;
  const Worth worth = worth_of(*plan);
  explanation.alternatives.push_back({std::move(name), *plan, worth,
                                      gain(explanation.worth, worth, explanation.objective),
                                      same_layout(*plan, explained)});
  const std::size_t added = explanation.alternatives.size() - 1;
  if (explanation.alternatives[added].same_plan) return;
  std::optional<std::size_t>& next = explanation.next_best;
  if (!next || better(worth, explanation.alternatives[*next].worth, explanation.objective)) next = added;
}

/// Makes other plans to compare with. Nothing happens where there is no best plan, as for a plan by hand that puts
/// several stages on a node where there is no other way.
inline void compare(const Plan& plan, const Problem& problem, Explanation& explanation) {
  const std::optional<Plan> best = best_plan(problem);
  if (!best) return;
  explanation.replanned = true;
  add_alternative(explanation, plan, "best plan", best);

  Problem bounded = problem;
  for (std::size_t n = 1; n <= problem.nodes.size(); ++n) {
    bounded.pipelines = n;
    add_alternative(explanation, plan, fmt::format("{} pipeline{}", n, n == 1 ? "" : "s"), best_plan(bounded));
  }
  bounded.pipelines = problem.pipelines;
  bounded.max_stages = 1;
  const std::optional<Plan> replicas = best_plan(bounded);
  add_alternative(explanation, plan, "replicas only", replicas);
  const std::optional<Plan> split = best_split_plan(problem);
  add_alternative(explanation, plan, "split only", split);

  BindingLimit(problem, *best).find(explanation);
  explanation.splitting = on_splitting(problem, *best, replicas, split);
}

/// The limit as far as the plan's own figures tell it: the bottleneck of its slowest pipeline.
inline Limit limit_of_bottleneck(const Explanation& explanation) {
  const PipelineUse& slowest = *std::ranges::max_element(explanation.pipelines, {}, &PipelineUse::time_us);
  std::string sentence =
      fmt::format("{} is busy longest, {:.2f} ms a request; what holds it there was not searched for",
                  slowest.bottleneck, slowest.time_us / 1e3);
  if (!slowest.link) return {LimitKind::cpu, slowest.node, std::move(sentence)};
  return {LimitKind::link, slowest.bottleneck.substr(std::string_view("the link ").size()), std::move(sentence)};
}

}  // namespace detail

/// Says why a plan is as it is: what holds each pipeline back, what nodes and links have to spare, which limit binds,
/// what other plans would give, what easing a limit would bring, and whether splitting helps.
///
/// The figures are `evaluate`'s. Other plans are `optimal`'s for the same problem within other bounds (each number of
/// pipelines, replicas only, split only) or with one limit eased; those that do not fit are left out. The limit, the
/// relaxations and the sentence on splitting concern the best plan within the problem's bounds, whoever made the
/// explained one. With more than `explain_max_nodes` nodes no other plans are made.
/// Blocks for some fifty times as long as `plan_optimal` takes. Keeps nothing; may be called from several threads.
/// @error what `evaluate` refuses.
inline Result<Explanation> explain(const Plan& plan, const Problem& problem) {
  const auto evaluated = evaluate(plan, problem.profile, problem.nodes, problem.links);
  if (!evaluated) return evaluated.error();
  Explanation explanation;
  explanation.objective = problem.objective;
  explanation.worth = detail::worth_of(*evaluated);
  detail::describe_use(*evaluated, problem, explanation);
  if (problem.nodes.size() <= explain_max_nodes) {
    detail::compare(*evaluated, problem, explanation);
  } else if (const std::string reason = detail::replicas_use_all(problem); !reason.empty()) {
    explanation.splitting = "splitting does not help here, because " + reason;
  }
  if (!explanation.replanned) explanation.limit = detail::limit_of_bottleneck(explanation);
  for (const NodeUse& node : explanation.nodes) {
    if (node.limit.count == 0 || node.memory <= node.limit) continue;
    explanation.limit = {
        LimitKind::memory, node.node,
        fmt::format("memory of '{}': the plan needs {} there and does not fit", node.node, format_bytes(node.memory))};
    break;
  }
  return explanation;
}

}  // namespace amp4ec
