// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/amp4ec_capability.hpp>

#include <numeric>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

std::vector<std::size_t> last_layers(const Result<Plan>& plan) {
  std::vector<std::size_t> result;
  for (const Stage& stage : plan.value().pipelines.at(0).stages) result.push_back(stage.last_layer);
  return result;
}

using Ends = std::vector<std::size_t>;

// Shares 0.5, 0.3 and 0.2: S = 1, 0.6 and 0.4 of the largest CPU and memory alike.
const std::vector<NodeSpec> three{{"high", 1_cpu, 1000_MiB}, {"medium", 0.6_cpu, 600_MiB}, {"low", 0.4_cpu, 400_MiB}};

}  // namespace

TEST_CASE("capability shares are six parts CPU and four parts memory") {
  // S = 0.6 + 0.4 = 1, 0.6 * 0.6 + 0.4 * 0.5 = 0.56, 0.6 * 0.4 + 0.4 * 0.5 = 0.44: the paper's three nodes.
  const std::vector<NodeSpec> paper{{"h", 1_cpu, 1_GiB}, {"m", 0.6_cpu, 512_MiB}, {"l", 0.4_cpu, 512_MiB}};
  const std::vector<double> shares = capability_shares(paper);
  REQUIRE(shares.size() == 3);
  CHECK(shares[0] == Approx(0.5));
  CHECK(shares[1] == Approx(0.28));
  CHECK(shares[2] == Approx(0.22));
  CHECK(std::accumulate(shares.begin(), shares.end(), 0.0) == Approx(1));

  SECTION("a node without a memory limit counts as the largest limit") {
    const auto some =
        capability_shares(std::vector<NodeSpec>{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 1_GiB}, {"c", 1_cpu, 0_B}});
    CHECK(some[0] == Approx(1.0 / 3));
    CHECK(some[1] == Approx(1.0 / 3));
    const auto none = capability_shares(std::vector<NodeSpec>{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 0_B}});
    CHECK(none[0] == Approx(1 / 1.7));
  }
}

TEST_CASE("amp4ec-capability gives layers in proportion to the shares") {
  Profile profile = sample_profile(std::vector<double>(10, 7));
  const Plan plan = plan_amp4ec_capability({profile, three}).value();
  CHECK(plan.strategy == "amp4ec-capability");
  CHECK(last_layers(plan) == Ends{4, 7, 9});
  CHECK(plan.pipelines[0].stages[0].node == "high");
  CHECK(plan.pipelines[0].stages[2].node == "low");
  CHECK(plan.gap < 0);

  SECTION("the nodes stay in their order") {
    const std::vector<NodeSpec> turned{three[2], three[1], three[0]};
    CHECK(last_layers(plan_amp4ec_capability({profile, turned})) == Ends{1, 4, 9});
  }
  SECTION("a boundary is where the cost before it is nearest to the shares so far") {
    // Costs 3, 3, 3, 1: targets 5 and 8, so after the second (6) and after the third (9).
    CHECK(last_layers(plan_amp4ec_capability({sample_profile({3, 3, 3, 1}), three})) == Ends{1, 2, 3});
    // 4, 2, 4: target 5 lies between 4 and 6, the earlier is taken.
    const std::vector<NodeSpec> two{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
    CHECK(last_layers(plan_amp4ec_capability({sample_profile({4, 2, 4}), two})) == Ends{0, 2});
  }
  SECTION("the cost is AMP4EC's where there are leaf modules, else the measured time") {
    for (LeafModule& leaf : profile.graph.leaves) leaf.cost = leaf.first_layer < 2 ? 50 : 0;
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{0, 1, 9});
    for (LeafModule& leaf : profile.graph.leaves) leaf.cost = 0;
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{4, 7, 9});
    profile.graph.leaves.clear();
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{4, 7, 9});
  }
  SECTION("only valid cuts are taken, and every node gets a layer while they last") {
    for (const std::size_t after : {3U, 4U, 5U, 6U, 7U}) reject_cut(profile, after);
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{2, 8, 9});
    for (const std::size_t after : {0U, 1U, 2U}) reject_cut(profile, after);
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{8, 9});
    reject_cut(profile, 8);
    CHECK(last_layers(plan_amp4ec_capability({profile, three})) == Ends{9});
  }
  SECTION("one heavy layer leaves the others a layer each") {
    CHECK(last_layers(plan_amp4ec_capability({sample_profile({1, 1, 100}), three})) == Ends{0, 1, 2});
    CHECK(last_layers(plan_amp4ec_capability({sample_profile({100, 1, 1}), three})) == Ends{0, 1, 2});
  }
  SECTION("a bound on stages lets the first nodes share the model") {
    Problem problem{profile, three};
    problem.max_stages = 2;  // 1 and 0.6 of 1.6: 6.25 of 10 layers
    CHECK(last_layers(plan_amp4ec_capability(problem)) == Ends{5, 9});
  }
  SECTION("memory counts for the share only: what does not fit is refused") {
    const std::vector<NodeSpec> small{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 40_MiB}};
    const auto refused = plan_amp4ec_capability({profile, small});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Errc::PlanInfeasible);
    CHECK(refused.error().message.find("'a' would need") != std::string::npos);
  }
}
