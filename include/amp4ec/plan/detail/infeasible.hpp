// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/optimal_search.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace amp4ec::detail {

/// Finds which limit keeps every plan from fitting. Only for problems without a plan.
class Infeasibility {
 public:
  Infeasibility(const Problem& problem, bool proven) : problem_(problem), space_(problem), proven_(proven) {}

  [[nodiscard]] Error explain() const {
    std::string why = by_number_of_pipelines();
    if (why.empty()) why = by_layers_between_cuts();
    if (why.empty()) why = by_bounds();
    if (why.empty()) why = by_memory();
    return {Errc::PlanInfeasible, std::move(why)};
  }

 private:
  [[nodiscard]] std::string by_number_of_pipelines() const {
    if (problem_.pipelines > problem_.nodes.size()) {
      return fmt::format("{} pipelines need as many nodes, there are {}; ask for fewer", problem_.pipelines,
                         problem_.nodes.size());
    }
    if (problem_.pipelines > 1 && !problem_.pins.empty()) {
      return fmt::format("{} pipelines would all need the pinned node '{}', which serves one; ask for one pipeline",
                         problem_.pipelines, problem_.pins.front().node);
    }
    const auto& layers = problem_.profile.graph.layers;
    const auto stateful = std::ranges::find(layers, true, &Layer::stateful);
    if (problem_.pipelines > 1 && stateful != layers.end()) {
      return fmt::format("{} pipelines, but layer '{}' keeps state, which one worker has to own; ask for one",
                         problem_.pipelines, stateful->name);
    }
    return {};
  }

  /// Layers that no cut separates, and no node may hold.
  [[nodiscard]] std::string by_layers_between_cuts() const {
    const Segments& segments = space_.segments();
    const auto& layers = problem_.profile.graph.layers;
    const auto largest = std::ranges::max_element(problem_.nodes, {}, limit);
    for (std::size_t b = 0; b < segments.end(); ++b) {
      const std::size_t first = segments.first_layer(b);
      const std::size_t last = segments.last_layer(b + 1);
      const char* cuts =
          problem_.forbidden_cuts.empty() ? "measured cut is valid" : "measured cut is valid and allowed";
      const std::string what = first == last ? fmt::format("layer '{}'", layers[first].name)
                                             : fmt::format("layers '{}' to '{}', between which no {},",
                                                           layers[first].name, layers[last].name, cuts);
      if (space_.owner(b) == SearchSpace::contested) {
        return fmt::format("{} are pinned to different nodes; allow a cut or move a pin", what);
      }
      const Bytes needed = segments.memory(b, b + 1);
      if (!fits(*largest, needed)) {
        return fmt::format("no node holds {}: needs at least {}, largest node '{}' has {}", trimmed(what),
                           format_bytes(needed), largest->name, format_bytes(largest->memory));
      }
      if (space_.owner(b) == SearchSpace::nobody) continue;
      const NodeSpec& node = problem_.nodes[space_.owner(b)];
      if (fits(node, needed)) continue;
      return fmt::format("node '{}' does not hold {} pinned to it: needs at least {}, has {}", node.name, what,
                         format_bytes(needed), format_bytes(node.memory));
    }
    return {};
  }

  /// Bounds without which a plan would fit.
  [[nodiscard]] std::string by_bounds() const {
    if (problem_.max_stages > 0) {
      Problem relaxed = feasibility();
      relaxed.max_stages = 0;
      if (solvable(relaxed)) {
        return fmt::format(
            "no plan fits with at most {} stages a pipeline, but one with more does; raise the bound on "
            "stages",
            problem_.max_stages);
      }
    }
    if (problem_.pipelines > 1) {
      Problem relaxed = feasibility();
      relaxed.pipelines = 0;
      if (solvable(relaxed)) {
        return fmt::format("{} pipelines at once do not fit these nodes' memory, but fewer do; ask for fewer",
                           problem_.pipelines);
      }
    }
    if (!problem_.pins.empty()) {
      Problem relaxed = feasibility();
      relaxed.pins = {};
      if (solvable(relaxed)) {
        return fmt::format(
            "no plan fits with the {}, but one without does: a node may hold one stage, within its "
            "memory, and no layer pinned elsewhere; move a pin{}",
            problem_.pins.size() == 1 ? "pin" : "pins",
            problem_.shared_nodes ? "" : " or allow nodes to hold several stages");
      }
    }
    if (!problem_.forbidden_cuts.empty()) {
      Problem relaxed = feasibility();
      relaxed.forbidden_cuts = {};
      if (solvable(relaxed)) {
        return fmt::format("no plan fits without the {} forbidden cuts, but one with them does; allow more cuts",
                           problem_.forbidden_cuts.size());
      }
    }
    return {};
  }

  [[nodiscard]] std::string by_memory() const {
    const Segments& segments = space_.segments();
    const Bytes whole = segments.memory(0, segments.end());
    if (!proven_) {
      return fmt::format(
          "no plan was found that fits the nodes' memory, though it is not proven that there is none: "
          "the whole model needs {}, a worker alone {}, and there are {} nodes",
          format_bytes(whole), format_bytes(segments.memory(0, 0)), problem_.nodes.size());
    }
    Bytes together;
    for (const NodeSpec& node : problem_.nodes) together += std::min(node.memory, Bytes{1ULL << 50U});  // no overflow
    return fmt::format(
        "the nodes' memory is too small even together: the whole model needs {}, a worker alone {}, the {} nodes have "
        "{} in all",
        format_bytes(whole), format_bytes(segments.memory(0, 0)), problem_.nodes.size(), format_bytes(together));
  }

  static std::uint64_t limit(const NodeSpec& node) {
    return node.memory.count == 0 ? unbounded.count : node.memory.count;
  }
  static std::string trimmed(std::string text) {
    if (text.ends_with(',')) text.pop_back();
    return text;
  }

  [[nodiscard]] Problem feasibility() const {
    Problem relaxed = problem_;
    relaxed.objective = Objective::throughput;
    return relaxed;
  }
  [[nodiscard]] static bool solvable(const Problem& relaxed) { return !search_optimal(relaxed).pipelines.empty(); }

  const Problem& problem_;
  SearchSpace space_;
  bool proven_;
};

inline Error explain_infeasible(const Problem& problem, bool proven) {
  return Infeasibility(problem, proven).explain();
}

}  // namespace amp4ec::detail
