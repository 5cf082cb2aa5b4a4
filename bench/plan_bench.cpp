// SPDX-License-Identifier: Apache-2.0
// Time and gap of the strategy `optimal` on the published set of instances, one thread.
#include "plan/large_instance.hpp"

#include <amp4ec/plan/optimal.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

namespace {

using amp4ec::Objective;

void plan(benchmark::State& state, LargeInstance::Shape shape, Objective objective, std::size_t pipelines) {
  double gap = 0;
  unsigned seed = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const LargeInstance instance(seed++ % 10, shape);
    state.ResumeTiming();
    const auto plan = amp4ec::plan_optimal({instance.profile, instance.nodes, instance.links, objective, pipelines});
    if (!plan) {
      state.SkipWithError(plan.error().message.c_str());
      break;
    }
    gap = std::max(gap, plan->gap);
  }
  state.counters["largest_gap"] = gap;
}

void add(std::size_t layers, std::size_t nodes, std::size_t kinds, std::size_t pipelines) {
  for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
    for (const bool memory : {false, true}) {
      for (const bool linked : {false, true}) {
        const std::string name =
            fmt::format("{}/{}_layers/{}_nodes{}/{}{}{}", to_string(objective), layers, nodes,
                        kinds == 0 ? "" : fmt::format("_of_{}_kinds", kinds), pipelines == 0 ? "any" : "one",
                        memory ? "/memory" : "", linked ? "/links" : "");
        const LargeInstance::Shape shape{layers, nodes, kinds, memory, linked};
        benchmark::RegisterBenchmark(name.c_str(), plan, shape, objective, pipelines)
            ->Unit(benchmark::kMillisecond)
            ->Iterations(layers * nodes < 5000 ? 10 : 3);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  add(200, 8, 0, 1);
  add(200, 12, 0, 1);
  add(200, 64, 4, 1);
  add(60, 5, 0, 0);
  for (const std::size_t pipelines : {1U, 0U}) {
    add(200, 16, 0, pipelines);
    add(500, 24, 0, pipelines);
    add(1000, 32, 0, pipelines);
    add(1000, 64, 0, pipelines);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
