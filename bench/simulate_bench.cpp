// SPDX-License-Identifier: Apache-2.0
// What simulating costs, on one thread: 100,000 requests through plans of many nodes. "Time" is of a whole simulation;
// `events_per_second` are steps of it.
#include <amp4ec/plan/simulate.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::literals;

struct Case {
  std::vector<NodeSpec> nodes;
  std::vector<LinkSpec> links;
  Plan plan;
  double capacity_rps = 0;
};

/// Nodes of three kinds in pipelines of so many stages, linked from stage to stage.
Case make_case(std::size_t node_count, std::size_t stages) {
  constexpr double quotas[] = {1.0, 0.6, 0.4};
  constexpr double work_us = 40'000;
  Case made;
  for (std::size_t n = 0; n < node_count; ++n) {
    made.nodes.push_back({"node-" + std::to_string(n), Cpus{quotas[n % 3]}, 0_B});
  }
  for (std::size_t first = 0; first + stages <= node_count; first += stages) {
    Pipeline& pipeline = made.plan.pipelines.emplace_back();
    double slowest_us = 0;
    for (std::size_t s = 0; s < stages; ++s) {
      const NodeSpec& node = made.nodes[first + s];
      const double time_us = work_us / static_cast<double>(stages) / node.cpus.count;
      slowest_us = std::max(slowest_us, time_us);
      pipeline.stages.push_back({node.name, s, s, 1, time_us, 0_B, s + 1 < stages ? 100'000_B : 0_B});
      if (s > 0) made.links.push_back({made.nodes[first + s - 1].name, node.name, 100'000'000_B, 500});
    }
    made.capacity_rps += 1e6 / slowest_us;
  }
  return made;
}

/// @param rate share of the capacity at which requests come, open loop; 0: closed loop that keeps the plan full
void simulate_plan(benchmark::State& state, std::size_t node_count, std::size_t stages, double rate,
                   const ServiceModel& service, const RandomFailures& failures = {}) {
  const Case made = make_case(node_count, stages);
  SimulateOptions options;
  options.requests = 100'000;
  if (rate > 0) options.arrivals = Arrivals::poisson(rate * made.capacity_rps);
  options.service = service;
  options.failures = failures;
  double events = 0;
  for (auto _ : state) {
    const auto simulation = simulate(made.plan, made.nodes, made.links, options);
    if (!simulation || simulation->answered != options.requests) {
      state.SkipWithError("the simulation failed");
      break;
    }
    events += static_cast<double>(simulation->events);
  }
  state.counters["events_per_second"] = benchmark::Counter(events, benchmark::Counter::kIsRate);
}

constexpr ServiceModel steady{};
constexpr ServiceModel uneven{ServiceNoise::lognormal, 0.2};
constexpr ServiceModel throttled{ServiceNoise::lognormal, 0.2, QuotaModel::periods};
constexpr RandomFailures failing{60, 1, 0, 0};

BENCHMARK_CAPTURE(simulate_plan, 3_nodes_1_pipeline_full, 3, 3, 0, steady)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_1000_replicas_full, 1000, 1, 0, steady)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_250_pipelines_full, 1000, 4, 0, steady)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_250_pipelines_poisson, 1000, 4, 0.8, uneven)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_250_pipelines_throttled, 1000, 4, 0.8, throttled)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_250_pipelines_failing, 1000, 4, 0.8, uneven, failing)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 1000_nodes_20_pipelines_of_50_full, 1000, 50, 0, steady)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(simulate_plan, 10000_nodes_2500_pipelines_poisson, 10'000, 4, 0.8, uneven)
    ->Unit(benchmark::kMillisecond);

}  // namespace
