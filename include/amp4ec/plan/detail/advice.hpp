// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/problem.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::detail {

/// How long each node and link is busy while every pipeline answers one request and all are kept full, in microseconds.
/// The keys borrow the names in the plan.
struct Charges {
  std::map<std::string_view, double> nodes;
  std::map<std::pair<std::string_view, std::string_view>, double> links;
};

/// By each stage's `time_us` and `crossing`. slowdown: see `slowdown_when_full`. The plan must outlive it.
inline Charges charges_of(const Plan& plan, std::span<const LinkSpec> links, double slowdown) {
  Charges charges;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
      const Stage& stage = pipeline.stages[s];
      charges.nodes[stage.node] += slowdown * stage.time_us;
      if (s + 1 == pipeline.stages.size()) break;
      const std::string& next = pipeline.stages[s + 1].node;
      charges.links[{stage.node, next}] += link_time_us(find_link(links, stage.node, next), stage.crossing);
    }
  }
  return charges;
}

struct Bottleneck {
  double time_us = 0;
  std::string where;      ///< For a person.
  std::size_t stage = 0;  ///< Of the pipeline, from 0; of a link, the stage that sends.
  bool link = false;      ///< The link behind the stage, not the stage.
};

/// What holds a pipeline back: the stage or link that is busy longest a request.
inline Bottleneck bottleneck(const Pipeline& pipeline, const Charges& charges) {
  Bottleneck worst;
  worst.time_us = -1;
  const auto consider = [&](double time_us, std::size_t stage, bool link) {
    if (time_us > worst.time_us) worst = Bottleneck{time_us, "", stage, link};
  };
  for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
    const std::string& node = pipeline.stages[s].node;
    consider(charges.nodes.at(node), s, false);
    if (s + 1 == pipeline.stages.size()) break;
    consider(charges.links.at({node, pipeline.stages[s + 1].node}), s, true);
  }
  if (pipeline.stages.empty()) return worst;
  const std::string& node = pipeline.stages[worst.stage].node;
  worst.where = worst.link ? fmt::format("the link {} -> {}", node, pipeline.stages[worst.stage + 1].node)
                           : fmt::format("stage {} on '{}'", worst.stage + 1, node);
  return worst;
}

/// Share of the time for which a pipeline's stages wait for its bottleneck, from 0 to 1.
inline double slack(const Pipeline& pipeline, const Charges& charges, const Bottleneck& worst) {
  if (worst.time_us <= 0) return 0;
  double busy = 0;
  for (const Stage& stage : pipeline.stages) busy += charges.nodes.at(stage.node) / worst.time_us;
  return 1 - busy / static_cast<double>(pipeline.stages.size());
}

/// One sentence on the pipeline that loses most to its bottleneck, or on the replicas where nothing is split.
inline std::string describe_bottleneck(const Plan& plan, const Charges& charges) {
  const Pipeline* chosen = nullptr;
  double most = -1;
  for (const Pipeline& pipeline : plan.pipelines) {
    if (pipeline.stages.size() < 2) continue;
    const double lost = slack(pipeline, charges, bottleneck(pipeline, charges));
    if (lost <= most) continue;
    most = lost;
    chosen = &pipeline;
  }
  if (chosen == nullptr) {
    return fmt::format("whole-model replicas, {} in all: nothing is split, each runs at its node's own speed",
                       plan.pipelines.size());
  }
  const Bottleneck worst = bottleneck(*chosen, charges);
  return fmt::format(
      "{} is the bottleneck with {:.2f} ms a request; the stages of its pipeline idle {:.1f} % of the time",
      worst.where, worst.time_us / 1e3, 100 * most);
}

}  // namespace amp4ec::detail
