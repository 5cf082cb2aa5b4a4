// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "large_instance.hpp"

#include <amp4ec/plan/optimal.hpp>

#include <algorithm>

using namespace amp4ec;

namespace {

void check(const LargeInstance& instance, Objective objective, std::size_t pipelines, double largest_gap) {
  const auto plan = plan_optimal({instance.profile, instance.nodes, instance.links, objective, pipelines});
  if (!plan) FAIL(plan.error().what());
  CHECK(check_memory(*plan, instance.nodes).has_value());
  CHECK(plan->gap >= 0);
  CHECK(plan->gap <= largest_gap);
}

}  // namespace

TEST_CASE("one pipeline is exact over 200 layers with 8 different nodes, and with 32 nodes of 4 kinds") {
  for (const std::size_t nodes : {8U, 32U}) {
    for (const bool limits : {false, true}) {
      const LargeInstance instance(1, {200, nodes, nodes == 8 ? 0U : 4U, limits, limits, true});
      for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
        INFO(nodes << " nodes, " << to_string(objective) << (limits ? ", limits" : ""));
        check(instance, objective, 1, 0);
      }
    }
  }
}

TEST_CASE("where bursts are left out of a large search the gap says so") {
  const LargeInstance instance(1, {200, 8});
  const auto plan = plan_optimal({instance.profile, instance.nodes, instance.links, Objective::latency, 1}).value();
  CHECK(plan.gap > 0);
  CHECK(plan.gap < 1);
  CHECK(plan.predicted.latency_ms * 1e3 >= instance.profile.whole_us);
}

TEST_CASE("any number of pipelines is exact over 60 layers with 5 different nodes") {
  for (unsigned seed = 0; seed < 4; ++seed) {
    const LargeInstance instance(seed, {60, 5, 0, seed % 2 == 1, seed / 2 == 1});
    for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
      INFO("seed " << seed << ", " << to_string(objective));
      check(instance, objective, 0, 0);
    }
  }
}

namespace {

// Instrumented code takes minutes for all of them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned seeds = 1;
#else
constexpr unsigned seeds = 4;
#endif

void check_gaps(std::size_t pipelines) {
  for (unsigned seed = 0; seed < seeds; ++seed) {
    const LargeInstance instance(seed, {seed < 2 ? 200U : 400U, seed < 2 ? 24U : 16U, 0, true, seed % 2 == 1, true});
    for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
      INFO("seed " << seed << ", " << to_string(objective) << ", pipelines " << pipelines);
      check(instance, objective, pipelines, 0.05);
    }
  }
}

}  // namespace

TEST_CASE("the gap is at most 5 percent on large instances, in one pipeline") {
  check_gaps(1);
}

TEST_CASE("the gap is at most 5 percent on large instances, in any number of pipelines") {
  check_gaps(0);
}

TEST_CASE("replicas that leave no CPU idle are known to be the best on large instances") {
  check(LargeInstance(0, {200, 24}), Objective::throughput, 0, 0);
}

TEST_CASE("the bounds on large instances hold on small ones, where the best plan is known") {
  for (unsigned seed = 0; seed < 800; ++seed) {
    const LargeInstance instance(seed, {3 + seed % 25, 2 + seed % 4, seed / 8 % 3, seed % 2 == 1, seed / 2 % 2 == 1});
    const Problem problem{instance.profile, instance.nodes, instance.links, Objective::throughput};
    const auto plan = plan_optimal(problem);
    if (!plan) continue;  // no layer may be too large for a node
    INFO("seed " << seed);
    REQUIRE(plan->gap == 0);
    const double best_rps = plan->predicted.throughput_rps * (1 - 1e-12);
    const detail::SearchSpace space(problem);
    detail::Counts counts;
    for (std::size_t k = 0; k < space.kinds(); ++k) {
      counts.push_back(static_cast<std::uint32_t>(space.kind(k).nodes.size()));
    }
    detail::RateBound by_layers(space, counts);
    CHECK(by_layers.find(60, 0) >= best_rps);
    for (const std::size_t steps : {1U, 20U}) {
      CHECK(detail::PriceBound(space, counts).find(by_layers.worth(), steps, best_rps) >= best_rps);
    }
  }
}
