// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/link_spec.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/profile.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

/// A planning problem drawn at random, the same for the same seed with every standard library. It is the published set
/// on which the gap and the speed of `optimal` are stated: see docs/planning.md.
struct LargeInstance {
  struct Shape {
    std::size_t layers = 200;
    std::size_t nodes = 8;
    std::size_t kinds = 0;  ///< Of so many kinds; 0: every node different.
    bool memory_binds =
        false;                 ///< The nodes together have twice the memory that the model needs, shared out unequally.
    bool linked = false;       ///< A link in each direction of every two nodes (kinds), bandwidths a factor 20 apart.
    bool even_quotas = false;  ///< Held at every moment, and not period by period: what latency alone counts.
  };

  amp4ec::Profile profile;
  std::vector<amp4ec::NodeSpec> nodes;
  std::vector<amp4ec::LinkSpec> links;

  LargeInstance(unsigned seed, const Shape& shape) : engine_(seed) {
    draw_profile(shape.layers);
    draw_nodes(shape);
  }

 private:
  // std::uniform_real_distribution differs between standard libraries.
  double real(double low, double high) { return low + (high - low) * static_cast<double>(engine_()) / 4294967296.0; }
  /// Evenly distributed in its logarithm.
  double scale(double low, double high) { return std::exp(real(std::log(low), std::log(high))); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(real(0, static_cast<double>(n))); }

  void draw_profile(std::size_t layers) {
    using amp4ec::Bytes;
    profile.process_memory = amp4ec::Bytes{120U << 20U};
    profile.peak_activation = amp4ec::Bytes{10U << 20U};
    for (std::size_t i = 0; i < layers; ++i) {
      // Early layers compute more, late ones weigh more, as in most image models.
      const double late = static_cast<double>(i) / static_cast<double>(layers);
      const auto weights = static_cast<std::uint64_t>(scale(1e4, 2e6) * (0.3 + 1.7 * late));
      profile.layer_us.push_back(scale(50, 2000) * (1.5 - late));
      profile.whole_us += profile.layer_us.back();
      profile.graph.layers.push_back({fmt::format("layer{}", i), "aten::op", 0, Bytes{weights}, Bytes{}, false});
    }
    double before = 0;
    for (std::size_t i = 0; i + 1 < layers; ++i) {
      before += profile.layer_us[i];
      const bool valid = real(0, 1) < 0.9;
      profile.graph.cuts.push_back(
          {valid, valid ? "" : "alias crosses: drawn", Bytes{static_cast<std::uint64_t>(scale(2e4, 2e6))}, 1});
      // Both sides of a cut lose a little of what fusion saved.
      profile.cut_costs.push_back({before + real(0, 300), profile.whole_us - before + real(0, 300), true});
    }
  }

  void draw_nodes(const Shape& shape) {
    using amp4ec::Bytes;
    const std::size_t kinds = shape.kinds == 0 ? shape.nodes : shape.kinds;
    double weights = 0;
    for (const amp4ec::Layer& layer : profile.graph.layers) weights += 2 * static_cast<double>(layer.weights.count);
    std::vector<amp4ec::NodeSpec> kind(kinds);
    for (amp4ec::NodeSpec& node : kind) {
      const double cpus = std::round(100 * scale(0.2, 1.0)) / 100;
      const double share = real(1.0, 3.0) * weights / static_cast<double>(shape.nodes);
      const std::uint64_t memory = (130U << 20U) + static_cast<std::uint64_t>(share);
      node = {"", amp4ec::Cpus{cpus}, Bytes{shape.memory_binds ? memory : 0}};
      if (shape.even_quotas) node.period_us = 0.1;
    }
    for (std::size_t n = 0; n < shape.nodes; ++n) {
      nodes.push_back(kind[n % kinds]);
      nodes.back().name = fmt::format("n{}", n);
    }
    if (!shape.linked) return;
    std::vector<amp4ec::LinkSpec> link(kinds * kinds);
    for (amp4ec::LinkSpec& l : link) {
      l = {"", "", Bytes{static_cast<std::uint64_t>(scale(5e7, 1e9))}, std::round(scale(50, 1000))};
    }
    for (std::size_t from = 0; from < shape.nodes; ++from) {
      for (std::size_t to = 0; to < shape.nodes; ++to) {
        if (from == to) continue;
        links.push_back(link[(from % kinds) * kinds + to % kinds]);
        links.back().from = nodes[from].name;
        links.back().to = nodes[to].name;
      }
    }
  }

  std::mt19937 engine_;
};
