// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/segments.hpp>
#include <amp4ec/plan/detail/single_pipeline.hpp>

#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// A problem as EdgeShard sees it: a row of layers, each with a time on each device and a need of memory, and the time
/// to hand on what crosses. What it calls a layer is here a unit, the layers between two neighbouring cuts that are
/// valid, measured and not forbidden, so that no plan can cut elsewhere. Unit i lies between boundaries i and i + 1.
class EdgeShardModel {
 public:
  explicit EdgeShardModel(const Problem& problem)
      : problem_(problem),
        segments_(problem.profile, problem.forbidden_cuts),
        links_(problem.nodes.size() * problem.nodes.size(), nullptr) {
    std::unordered_map<std::string_view, std::size_t> index;
    for (std::size_t n = 0; n < problem.nodes.size(); ++n) index.emplace(problem.nodes[n].name, n);
    for (const LinkSpec& link : problem.links) {
      links_[index.at(link.from) * problem.nodes.size() + index.at(link.to)] = &link;
    }
    layers_us_.push_back(0);
    for (std::size_t unit = 0; unit < units(); ++unit) {
      layers_us_.push_back(layers_us_.back());
      for (std::size_t layer = segments_.first_layer(unit); layer <= segments_.last_layer(unit + 1); ++layer) {
        layers_us_.back() += problem.profile.layer_us[layer];
      }
    }
  }

  [[nodiscard]] std::size_t units() const noexcept { return segments_.end(); }
  [[nodiscard]] std::size_t devices() const noexcept { return problem_.nodes.size(); }

  /// t(l, j) summed from boundary to boundary: the layers' own times, without what a cut costs.
  [[nodiscard]] double compute_us(std::size_t device, std::size_t from, std::size_t to) const {
    return (layers_us_[to] - layers_us_[from]) / node_speed(problem_.nodes[device]);
  }

  /// comm: what crosses a boundary, from one device to another.
  [[nodiscard]] double send_us(std::size_t from, std::size_t to, std::size_t boundary) const {
    return link_time_us(links_[from * devices() + to], segments_.crossing(boundary));
  }

  /// What a stage takes of its device's memory: EdgeShard's sum over layers, and our worker around it.
  [[nodiscard]] Bytes memory(std::size_t from, std::size_t to) const { return segments_.memory(from, to); }
  [[nodiscard]] bool holds(std::size_t device, Bytes memory) const { return fits(problem_.nodes[device], memory); }

  /// The plan of one pipeline that runs unit i on device path[i]: neighbours on one device are one stage.
  [[nodiscard]] Result<Plan> plan(const std::vector<std::size_t>& path, std::string_view strategy) const {
    Plan plan;
    plan.model_hash = problem_.profile.graph.model_hash;
    plan.strategy = strategy;
    plan.objective = to_string(problem_.objective);
    std::vector<Stage>& stages = plan.pipelines.emplace_back().stages;
    for (std::size_t unit = 0; unit < path.size(); ++unit) {
      if (unit == 0 || path[unit] != path[unit - 1]) {
        Stage& stage = stages.emplace_back();
        stage.node = problem_.nodes[path[unit]].name;
        stage.first_layer = segments_.first_layer(unit);
      }
      stages.back().last_layer = segments_.last_layer(unit + 1);
    }
    return evaluate(std::move(plan), problem_.profile, problem_.nodes, problem_.links);
  }

 private:
  const Problem& problem_;
  Segments segments_;
  std::vector<const LinkSpec*> links_;  // [from * devices + to]
  std::vector<double> layers_us_;       // of all layers before the boundary
};

}  // namespace amp4ec::detail
