// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/edgeshard_recurrences.hpp>

#include <cstddef>
#include <vector>

namespace amp4ec {

/// How many nodes `edgeshard-latency` takes: its work grows with their square.
inline constexpr std::size_t edgeshard_latency_max_nodes = 1000;

/// How many nodes `edgeshard-throughput` takes: it looks at every set of them, 4096 for twelve.
inline constexpr std::size_t edgeshard_throughput_max_nodes = 12;

namespace detail {

/// What both strategies refuse. @error NotSupported.
inline Result<void> check_edgeshard(const Problem& problem, std::string_view strategy, std::size_t max_nodes) {
  if (auto valid = validate_problem(problem); !valid) return valid;
  if (auto single = check_single_pipeline(problem, strategy); !single) return single;
  if (problem.nodes.size() <= max_nodes) return {};
  return Error{Errc::NotSupported, fmt::format("strategy '{}' takes up to {} nodes and here are {}; plan for fewer, or "
                                               "use 'even' or 'amp4ec-greedy'",
                                               strategy, max_nodes, problem.nodes.size())};
}

}  // namespace detail

/// Strategy `edgeshard-latency`: EdgeShard's dynamic programming for latency (arXiv 2405.14371), to the letter.
///
///   D(i, j) = min over k of { D(i-1, k) + t(i, j) + [k != j] comm(i, k, j) },   answer: min over j of D(n, j)
///
/// with t(i, j) = `layer_us` over the node's speed and comm = what crosses, over the link. The layer stays on its
/// device or moves, also back to one that was left; neighbours on one device are a stage. O(n m^2) for n units and m
/// nodes.
///
/// What is the paper's and stays so:
///   - A state keeps one memory vector, that of its fastest path. Where memory binds a slower prefix that leaves more
///     room is lost: the answer may not be the best one, and none may be found although there is one.
///   - A segment takes the sum of its layers' times: what a cut costs is not seen. `predicted`, which is `evaluate`'s,
///     counts it.
///   - The problem's objective is not looked at.
///
/// What is ours: a layer of the recurrence is a unit, all layers between two neighbouring cuts that are valid and
/// measured, so no other cut is made; a stage takes `segment_memory`, the worker's fixed part included, and several
/// stages on a node add up; there is no source device that holds the first layer and takes the answer; among equals a
/// unit stays.
/// @error PlanInfeasible if the recurrence finds nothing that fits, or only more stages than `max_stages`, which it
/// cannot bound; NotSupported for several pipelines or more than `edgeshard_latency_max_nodes` nodes; and what
/// `validate_problem` refuses.
inline Result<Plan> plan_edgeshard_latency(const Problem& problem) {
  constexpr std::string_view name = "edgeshard-latency";
  if (const auto takes = detail::check_edgeshard(problem, name, edgeshard_latency_max_nodes); !takes) {
    return takes.error();
  }
  const detail::EdgeShardModel model(problem);
  const std::vector<std::size_t> path = detail::EdgeShardLatency(model).run();
  if (path.empty()) {
    return Error{
        Errc::PlanInfeasible,
        fmt::format("strategy '{}' finds no plan that fits the nodes' memory; its recurrence follows one use of "
                    "memory a state and may miss one: use 'optimal'",
                    name)};
  }
  auto plan = model.plan(path, name);
  if (plan && problem.max_stages > 0 && plan->pipelines[0].stages.size() > problem.max_stages) {
    return Error{Errc::PlanInfeasible,
                 fmt::format("strategy '{}' cannot bound the number of stages: it makes {}, at most {} are asked for; "
                             "raise the bound or use 'optimal'",
                             name, plan->pipelines[0].stages.size(), problem.max_stages)};
  }
  return plan;
}

/// Strategy `edgeshard-throughput`: EdgeShard's dynamic programming for throughput (arXiv 2405.14371), to the letter.
///
///   h(m, S + {j}, j) = min over i < m, k in S of max{ h(i, S, k), sum of t(l, j) for i < l <= m, comm(i, k, j) },
///   answer: min over S, j of h(n, S, j)
///
/// the least bottleneck of one pipeline in which each device has at most one stage. Exact for its cost model, memory
/// included, since a device's limit concerns its one stage. Takes O(2^m m n (n + m)) time and O(2^m m n) memory for n
/// units and m nodes: up to `edgeshard_throughput_max_nodes`.
///
/// Ignores what a cut costs, whole-model replicas, and the objective; units, `segment_memory` and the source device are
/// treated as in `plan_edgeshard_latency`. `max_stages` bounds the sets.
/// @error PlanInfeasible if no pipeline fits the nodes' memory; NotSupported for several pipelines or more nodes; and
/// what `validate_problem` refuses.
inline Result<Plan> plan_edgeshard_throughput(const Problem& problem) {
  constexpr std::string_view name = "edgeshard-throughput";
  if (const auto takes = detail::check_edgeshard(problem, name, edgeshard_throughput_max_nodes); !takes) {
    return takes.error();
  }
  const detail::EdgeShardModel model(problem);
  const std::vector<std::size_t> path = detail::EdgeShardThroughput(model, problem.max_stages).run();
  if (path.empty()) {
    return Error{Errc::PlanInfeasible,
                 fmt::format("strategy '{}': no pipeline with one stage a node fits the nodes' memory; 'optimal' says "
                             "which limit binds",
                             name)};
  }
  return model.plan(path, name);
}

}  // namespace amp4ec
