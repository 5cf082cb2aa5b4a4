// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/what_if.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

namespace amp4ec::detail {

/// The reason that needs no other plan: a replica on every node leaves no CPU idle. Empty where that is not so.
inline std::string replicas_use_all(const Problem& problem) {
  const bool bounded = problem.pipelines > 0 || problem.max_pipelines > 0 || !problem.pins.empty();
  if (problem.objective != Objective::throughput || bounded) return {};
  const Replicas replicas = replicas_everywhere(problem);
  if (replicas.throughput_rps < ideal(problem).throughput_rps * (1 - worthless_gain)) return {};
  return fmt::format(
      "whole-model replicas keep all {} nodes busy all the time, with {:.1f} requests/s, and no plan can "
      "do better than that",
      replicas.nodes, replicas.throughput_rps);
}

inline bool has_usable_cut(const Problem& problem) {
  return Segments(problem.profile, problem.forbidden_cuts).end() > 1;
}

/// Why the best plan without a split (`replicas`) is as good as any.
inline std::string why_not_split(const Problem& problem, const Plan& replicas, const std::optional<Plan>& split) {
  if (problem.nodes.size() == 1) return "there is one node only";
  if (!has_usable_cut(problem)) {
    return fmt::format("no cut of this model is both valid and measured{}",
                       problem.forbidden_cuts.empty() ? "" : ", and not forbidden");
  }
  if (problem.max_stages == 1) return "at most one stage a pipeline is asked for";
  if (!split) return "no split fits the nodes";
  const Worth whole = worth_of(replicas);
  const Worth parts = worth_of(*split);
  const std::string best_split = fmt::format("the best split gives {}", worth_text(parts, problem.objective));
  if (problem.objective == Objective::latency) {
    return fmt::format(
        "one request alone passes the stages one after the other, and the whole model on '{}' takes {}; {}",
        replicas.pipelines[0].stages[0].node, worth_text(whole, problem.objective), best_split);
  }
  if (const std::string all = replicas_use_all(problem); !all.empty()) return fmt::format("{}; {}", all, best_split);
  Problem unlinked = problem;
  unlinked.links = {};
  const std::optional<Plan> without_links = problem.links.empty() ? std::nullopt : best_split_plan(unlinked);
  if (without_links && better(worth_of(*without_links), whole, problem.objective)) {
    return fmt::format("sending costs too much: {}, if links cost nothing {}, the whole model on each of {} nodes {}",
                       best_split, worth_text(worth_of(*without_links), problem.objective), replicas.pipelines.size(),
                       worth_text(whole, problem.objective));
  }
  return fmt::format("{}, the whole model on {} of the nodes {}", best_split, replicas.pipelines.size(),
                     worth_text(whole, problem.objective));
}

/// "splitting does not help here, because ...", or what it gives. `best`: within the problem's bounds; `replicas`: the
/// best of those without a split; `split`: the best without a replica.
inline std::string on_splitting(const Problem& problem, const Plan& best, const std::optional<Plan>& replicas,
                                const std::optional<Plan>& split) {
  const std::string best_text = worth_text(worth_of(best), problem.objective);
  if (!replicas) return fmt::format("splitting makes it possible: {}, where no node holds the whole model", best_text);
  const double more = gain(worth_of(*replicas), worth_of(best), problem.objective);
  if (more <= 1e-9) {
    return fmt::format("splitting does not help here, because {}", why_not_split(problem, *replicas, split));
  }
  return fmt::format("splitting helps: {}, where whole-model replicas alone give {} ({:+.1f} %)", best_text,
                     worth_text(worth_of(*replicas), problem.objective), 100 * more);
}

}  // namespace amp4ec::detail
