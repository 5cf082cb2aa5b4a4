// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/simulate.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::simulation_test {

struct StageTime {
  std::string node;
  double time_us = 0;
};

/// A pipeline with one layer a stage; each hands on so many bytes.
inline Pipeline pipeline_of(const std::vector<StageTime>& stages, Bytes crossing = {}) {
  Pipeline pipeline;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    pipeline.stages.push_back(
        {stages[s].node, s, s, 1, stages[s].time_us, Bytes{}, s + 1 < stages.size() ? crossing : Bytes{}});
  }
  return pipeline;
}

inline Plan plan_of(std::vector<Pipeline> pipelines) {
  Plan plan;
  plan.pipelines = std::move(pipelines);
  return plan;
}

inline std::vector<NodeSpec> nodes_of(const std::vector<std::string>& names, double cpus = 1) {
  std::vector<NodeSpec> nodes;
  for (const std::string& name : names) nodes.push_back({name, Cpus{cpus}, Bytes{}});
  return nodes;
}

/// Mean over independent runs, and how far it may be off.
struct Estimate {
  double mean = 0;
  double error = 0;  ///< Standard error of the mean, from the differences between the runs.
};

/// `figure(simulation)` over runs with the seeds 1 to `runs`.
template <class Figure>
Estimate estimate(const Plan& plan, const std::vector<NodeSpec>& nodes, const std::vector<LinkSpec>& links,
                  SimulateOptions options, std::uint64_t runs, Figure figure) {
  double sum = 0;
  double squares = 0;
  for (std::uint64_t seed = 1; seed <= runs; ++seed) {
    options.seed = seed;
    const double value = figure(simulate(plan, nodes, links, options).value());
    sum += value;
    squares += value * value;
  }
  const auto n = static_cast<double>(runs);
  const double mean = sum / n;
  return {mean, std::sqrt(std::max(0.0, squares / n - mean * mean) / (n - 1))};
}

inline double mean_latency_ms(const Simulation& simulation) {
  return simulation.latency_ms.mean;
}

}  // namespace amp4ec::simulation_test
