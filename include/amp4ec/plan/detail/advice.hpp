// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/problem.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::detail {

/// How long each node and link is busy while every pipeline answers one request, in microseconds.
/// The keys borrow the names in the plan.
struct Charges {
  std::map<std::string_view, double> nodes;
  std::map<std::pair<std::string_view, std::string_view>, double> links;
};

struct Bottleneck {
  double time_us = 0;
  std::string where;
};

/// What holds a pipeline back: the stage or link that is busy longest a request.
inline Bottleneck bottleneck(const Pipeline& pipeline, const Charges& charges) {
  Bottleneck worst{-1, ""};
  const auto consider = [&](double time_us, auto&& where) {
    if (time_us > worst.time_us) worst = {time_us, where()};
  };
  for (std::size_t s = 0; s < pipeline.stages.size(); ++s) {
    const std::string& node = pipeline.stages[s].node;
    consider(charges.nodes.at(node), [&] { return fmt::format("stage {} on '{}'", s + 1, node); });
    if (s + 1 == pipeline.stages.size()) break;
    const std::string& next = pipeline.stages[s + 1].node;
    consider(charges.links.at({node, next}), [&] { return fmt::format("the link {} -> {}", node, next); });
  }
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
