// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/problem.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace amp4ec {

/// What keeps a plan from being better.
enum class LimitKind {
  cpu,          ///< A node's CPU quota: the node is busy all the time.
  memory,       ///< Memory limits keep layers off the node that would be best for them.
  link,         ///< What sending costs.
  granularity,  ///< Layers cannot be shared out evenly: cuts are too few or cost too much.
  nodes,        ///< Every node gives all it can: only another one would help.
};

constexpr std::string_view to_string(LimitKind kind) noexcept {
  switch (kind) {
    case LimitKind::cpu: return "cpu";
    case LimitKind::memory: return "memory";
    case LimitKind::link: return "link";
    case LimitKind::granularity: return "granularity";
    case LimitKind::nodes: return "nodes";
  }
  return "unknown";
}

/// What the objectives look at in a plan.
struct Worth {
  Prediction predicted;
  Bytes largest_stage;  ///< The most memory that a stage takes.

  bool operator==(const Worth&) const = default;
};

/// One pipeline, kept full.
struct PipelineUse {
  std::string bottleneck;  ///< "stage 2 on 'low'" (counted from 1) or "the link high -> low".
  bool link = false;       ///< The bottleneck is a link.
  std::string node;        ///< Where the bottleneck is: the node of the stage, or the one that sends.
  double time_us = 0;      ///< For which the bottleneck is busy a request, everything that it serves included.
  double throughput_rps = 0;
  double latency_ms = 0;  ///< One request alone.

  bool operator==(const PipelineUse&) const = default;
};

/// One node while all pipelines are kept full.
struct NodeUse {
  std::string node;
  double busy = 0;  ///< Share of the time for which one of its workers computes, 0 to 1.
  Bytes memory;     ///< Of all its workers.
  Bytes limit;      ///< 0: none.

  /// Share of the time for which it waits.
  [[nodiscard]] double slack() const noexcept { return std::max(0.0, 1 - busy); }

  bool operator==(const NodeUse&) const = default;
};

/// One link that the plan sends over, while all pipelines are kept full.
struct LinkUse {
  std::string from;
  std::string to;
  double time_us = 0;  ///< For one request of each pipeline.
  double busy = 0;     ///< Share of the time, 0 to 1.

  bool operator==(const LinkUse&) const = default;
};

/// The limit that binds.
struct Limit {
  LimitKind kind = LimitKind::nodes;
  std::string where;     ///< A node, a link as "high -> low", or empty where it is no single one.
  std::string sentence;  ///< For a person, with what would be gained.

  bool operator==(const Limit&) const = default;
};

/// Another plan: the best one there is within some bound.
struct Alternative {
  std::string name;  ///< "best plan", "2 pipelines", "replicas only", "split only".
  Plan plan;
  Worth worth;
  double gain = 0;         ///< Over the explained plan by the objective: 0.1 is a tenth better, negative is worse.
  bool same_plan = false;  ///< It is the explained plan.

  bool operator==(const Alternative&) const = default;
};

/// What the best plan would give if one thing were different.
struct Relaxation {
  LimitKind kind = LimitKind::cpu;  ///< Of the limit that is eased.
  std::string change;               ///< "10 % more CPU on 'low'".
  std::string where;                ///< As in `Limit`.
  Worth worth;
  double gain = 0;  ///< Over the best plan as things are, by the objective.

  bool operator==(const Relaxation&) const = default;
};

/// Why a plan is as it is. Plain data; made by `explain`, told by `to_text` and `explanation_to_json`.
struct Explanation {
  Objective objective = Objective::throughput;
  Worth worth;                         ///< Of the explained plan.
  std::vector<PipelineUse> pipelines;  ///< In the plan's order.
  std::vector<NodeUse> nodes;          ///< All of the problem's, in its order.
  std::vector<LinkUse> links;          ///< Those that the plan sends over and that cost something.

  /// Other plans were made. false: there are more than `explain_max_nodes` nodes, and what follows comes from the
  /// plan's own figures alone.
  bool replanned = false;
  std::vector<Alternative> alternatives;  ///< "best plan", within the problem's own bounds, is the first.
  std::optional<std::size_t> next_best;   ///< The best alternative that is another plan; it may be a better one.
  std::vector<Relaxation> relaxations;    ///< The largest gain first.
  Limit limit;                            ///< Of the best plan within the problem's bounds.
  std::string splitting;  ///< "splitting does not help here, because ..." or what it gives; empty where not known.

  bool operator==(const Explanation&) const = default;
};

/// The stages of a plan on one line: "high:0-12 > low:13-40 | medium:0-40".
inline std::string layout(const Plan& plan) {
  std::string text;
  for (const Pipeline& pipeline : plan.pipelines) {
    if (!text.empty()) text += " | ";
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      const Stage& stage = pipeline.stages[s];
      text += fmt::format("{}{}:{}-{}", s == 0 ? "" : " > ", stage.node, stage.first_layer, stage.last_layer);
    }
  }
  return text;
}

}  // namespace amp4ec
