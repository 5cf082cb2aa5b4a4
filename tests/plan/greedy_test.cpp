// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/amp4ec_greedy.hpp>

#include <numeric>
#include <vector>

using namespace amp4ec;
using Parts = std::vector<std::size_t>;

namespace {

/// torchvision's MobileNetV2 (width 1.0), leaf module by leaf module, in AMP4EC's costs: a convolution counts
/// k*k*C_in*C_out whatever its groups, a batch norm its 2*C parameters, relu6 and dropout nothing.
std::vector<double> mobilenet_v2_leaf_costs() {
  std::vector<double> costs;
  const auto convolution = [&](double kernel, double in, double out, bool relu) {
    costs.push_back(kernel * kernel * in * out);
    costs.push_back(2 * out);
    if (relu) costs.push_back(0);
  };
  struct Setting {
    double expansion, channels;
    int repeats;
  };
  static constexpr Setting settings[] = {{1, 16, 1}, {6, 24, 2},  {6, 32, 3}, {6, 64, 4},
                                         {6, 96, 3}, {6, 160, 3}, {6, 320, 1}};
  convolution(3, 3, 32, true);
  double in = 32;
  for (const Setting& setting : settings) {
    for (int i = 0; i < setting.repeats; ++i) {
      const double hidden = in * setting.expansion;
      if (setting.expansion > 1) convolution(1, in, hidden, true);
      convolution(3, hidden, hidden, true);
      convolution(1, hidden, setting.channels, false);
      in = setting.channels;
    }
  }
  convolution(1, in, 1280, true);
  costs.push_back(0);
  costs.push_back(1280 * 1000);
  return costs;
}

}  // namespace

TEST_CASE("the greedy partition of MobileNetV2 is the published one") {
  const std::vector<double> costs = mobilenet_v2_leaf_costs();
  REQUIRE(costs.size() == 141);
  CHECK(greedy_leaf_parts(costs, 2) == Parts{116, 25});
  CHECK(greedy_leaf_parts(costs, 3) == Parts{108, 16, 17});
  CHECK(greedy_leaf_parts(costs, 4) == Parts{100, 16, 16, 9});
}

TEST_CASE("the greedy walk closes a part at its target and keeps the rest as the last") {
  CHECK(greedy_leaf_parts(std::vector<double>{4, 1, 1, 1, 1}, 2) == Parts{1, 4});
  CHECK(greedy_leaf_parts(std::vector<double>{1, 1, 1, 9}, 2) == Parts{4});
  CHECK(greedy_leaf_parts(std::vector<double>{1, 1, 0}, 2) == Parts{1, 1, 1});
  CHECK(greedy_leaf_parts(std::vector<double>{}, 3).empty());
  CHECK(greedy_leaf_parts(std::vector<double>{5}, 0) == Parts{1});
}

TEST_CASE("amp4ec-greedy puts the parts on the nodes in order and counts leaves") {
  Profile profile = sample_profile({10, 10, 10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"low", 0.5_cpu, 0_B}, {"high", 1_cpu, 0_B}};
  const Plan plan = plan_amp4ec_greedy({profile, nodes}).value();
  REQUIRE(plan.pipelines.size() == 1);
  const auto& stages = plan.pipelines[0].stages;
  REQUIRE(stages.size() == 2);
  CHECK(stages[0].node == "low");
  CHECK(stages[0].last_layer == 2);
  CHECK(stages[0].leaf_modules == 3);
  CHECK(stages[1].node == "high");
  CHECK(stages[1].first_layer == 3);
  CHECK(plan.strategy == "amp4ec-greedy");
  CHECK(plan.gap < 0);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 60));

  SECTION("an invalid cut moves to the nearest valid one") {
    reject_cut(profile, 2);
    CHECK(plan_amp4ec_greedy({profile, nodes}).value().pipelines[0].stages[0].last_layer == 1);
    reject_cut(profile, 1);
    CHECK(plan_amp4ec_greedy({profile, nodes}).value().pipelines[0].stages[0].last_layer == 3);
  }
  SECTION("a bound on stages is the number of parts") {
    Problem problem{profile, nodes};
    problem.max_stages = 1;
    CHECK(plan_amp4ec_greedy(problem).value().pipelines[0].stages.size() == 1);
  }
  SECTION("parts past the number of nodes join the last") {
    for (LeafModule& leaf : profile.graph.leaves) leaf.cost = 0;
    CHECK(plan_amp4ec_greedy({profile, nodes}).value().pipelines[0].stages.size() == 2);
  }
  SECTION("leaves that do no work are counted where their successor is") {
    profile.graph.leaves.push_back({"dropout", 0, profile.graph.layers.size()});
    const Plan longer = plan_amp4ec_greedy({profile, nodes}).value();
    CHECK(longer.pipelines[0].stages[1].leaf_modules == 4);
  }
  SECTION("a model without leaf modules is refused") {
    profile.graph.leaves.clear();
    CHECK(plan_amp4ec_greedy({profile, nodes}).error().code == Errc::ProfileInvalid);
  }
  SECTION("a stage that does not fit its node is refused, with the node's name") {
    const std::vector<NodeSpec> small{{"low", 0.5_cpu, 4_MiB}, {"high", 1_cpu, 0_B}};
    const auto refused = plan_amp4ec_greedy({profile, small});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Errc::PlanInfeasible);
    CHECK(refused.error().message.find("'low' would need 6.0 MiB, but has 4.0 MiB") != std::string::npos);
  }
}
