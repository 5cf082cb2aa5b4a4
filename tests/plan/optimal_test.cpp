// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/optimal.hpp>

#include <limits>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

std::string shape(const Plan& plan) {
  std::string text;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) {
      text += fmt::format("{}{}:{}-{}", text.empty() || text.back() == ' ' ? "" : ">", stage.node, stage.first_layer,
                          stage.last_layer);
    }
    text += ' ';
  }
  return text;
}

void check_infeasible(const Result<Plan>& plan, const std::string& part) {
  REQUIRE_FALSE(plan.has_value());
  INFO(plan.error().message);
  CHECK(plan.error().code == Errc::PlanInfeasible);
  CHECK(plan.error().message.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("replicas win where a cut cannot be balanced, and the advice says so") {
  const Profile profile = sample_profile({10, 10, 40});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 0_B}};
  const Plan plan = plan_optimal({profile, nodes}).value();
  CHECK(shape(plan) == "a:0-2 b:0-2 ");
  CHECK(plan.gap == 0);
  CHECK(plan.predicted.throughput_rps == Approx(25000));
  CHECK(plan.advice ==
        "splitting does not help here: one whole-model replica on each of 2 nodes gives 25000.0 requests/s, the best "
        "pipeline of two or more stages 25000.0");
}

TEST_CASE("one pipeline is split where that lowers its bottleneck") {
  const Profile profile = sample_profile({10, 10, 40});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 0_B}};
  Problem problem{profile, nodes};
  problem.pipelines = 1;
  const Plan plan = plan_optimal(problem).value();
  CHECK(shape(plan) == "b:0-1>a:2-2 ");
  CHECK(plan.advice.find("whole-model replicas alone would give 25000.0 requests/s") != std::string::npos);

  problem.max_stages = 1;
  CHECK(shape(plan_optimal(problem).value()) == "a:0-2 ");
}

TEST_CASE("a split that memory forces says that no node holds the whole model") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 6_MiB}, {"b", 1_cpu, 4_MiB}};
  const Plan plan = plan_optimal({profile, nodes}).value();
  CHECK(plan.pipelines.size() == 1);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 20));
  CHECK(plan.advice.find("no node holds the whole model") != std::string::npos);
}

TEST_CASE("among pipelines of the same rate the shortest is taken") {
  // Layers 0 and 1 stay together and bound the rate; a third stage on the slow node would only add to the latency.
  Profile profile = sample_profile({5, 50, 5, 5});
  reject_cut(profile, 0);
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 7_MiB}, {"b", 1_cpu, 7_MiB}, {"c", 0.1_cpu, 2_MiB}};
  const std::vector<LinkSpec> links{{"a", "b", 1_GiB, 1}, {"b", "a", 1_GiB, 2}};
  Problem problem{profile, nodes, links};
  problem.pipelines = 1;
  const Plan plan = plan_optimal(problem).value();
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 55));
  CHECK(plan.pipelines[0].stages.size() == 2);
  CHECK(plan.pipelines[0].stages[0].node == "a");
}

TEST_CASE("only valid and measured cuts are taken") {
  Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  Problem problem{profile, nodes};
  problem.pipelines = 1;
  reject_cut(profile, 1);
  CHECK(plan_optimal(problem).value().predicted.throughput_rps == Approx(1e6 / 30));
  profile.cut_costs[0].measured = false;
  CHECK(plan_optimal(problem).value().pipelines[0].stages[0].last_layer == 2);
}

TEST_CASE("infeasible problems name the binding limit") {
  Profile profile = sample_profile({10, 10, 10, 10});
  profile.process_memory = 10_MiB;
  const auto with = [&](std::vector<NodeSpec> nodes, std::size_t pipelines = 0, std::size_t max_stages = 0) {
    Problem problem{profile, nodes};
    problem.pipelines = pipelines;
    problem.max_stages = max_stages;
    return plan_optimal(problem);
  };
  check_infeasible(with({{"low", 1_cpu, 1_MiB}, {"high", 1_cpu, 11_MiB}}),
                   "no node holds layer 'layer0': needs at least 12.0 MiB, largest node 'high' has 11.0 MiB");
  check_infeasible(with({{"a", 1_cpu, 12_MiB}, {"b", 1_cpu, 12_MiB}}),
                   "too small even together: the whole model needs 18.0 MiB, a worker alone 10.0 MiB, the 2 nodes have "
                   "24.0 MiB");
  check_infeasible(with({{"a", 1_cpu, 14_MiB}, {"b", 1_cpu, 14_MiB}}, 0, 1), "at most 1 stages");
  check_infeasible(with({{"a", 1_cpu, 14_MiB}, {"b", 1_cpu, 14_MiB}}, 2), "2 pipelines at once");
  check_infeasible(with({{"a", 1_cpu, 0_B}}, 2), "2 pipelines need as many nodes");

  profile.graph.cuts[1].valid = false;
  check_infeasible(with({{"a", 1_cpu, 12_MiB}, {"b", 1_cpu, 13_MiB}}),
                   "no node holds layers 'layer1' to 'layer2', between which no measured cut is valid: needs at least "
                   "14.0 MiB, largest node 'b' has 13.0 MiB");
}

TEST_CASE("equal nodes by the hundred are planned exactly, and more than a thousand refused") {
  const Profile profile = sample_profile(std::vector<double>(20, 10));
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < 1000; ++i) nodes.push_back({"n" + std::to_string(i), 1_cpu, i % 2 == 0 ? 0_B : 6_MiB});
  Problem problem{profile, nodes};
  problem.pipelines = 1;
  const Plan plan = plan_optimal(problem).value();
  CHECK(plan.gap == 0);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 10));
  const Plan many = plan_optimal({profile, nodes}).value();
  CHECK(many.predicted.throughput_rps > 500 * 1e6 / 200);
  CHECK(many.gap < 0.05);

  nodes.resize(10000, {"", 1_cpu, 0_B});
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].name = "n" + std::to_string(i);
  const auto refused = plan_optimal({profile, nodes});
  CHECK(refused.error().code == Errc::NotSupported);
  CHECK(refused.error().message.find("up to 1024 nodes and here are 10000") != std::string::npos);
}

TEST_CASE("pinned layers run where they are pinned to, in one pipeline") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}, {"c", 0.1_cpu, 0_B}};
  Problem problem{profile, nodes};
  const std::vector<Pin> last{{3, 3, "c"}};
  problem.pins = last;
  const Plan plan = plan_optimal(problem).value();
  REQUIRE(plan.pipelines.size() == 1);
  CHECK(plan.pipelines[0].stages.back().node == "c");
  CHECK(plan.pipelines[0].stages.back().first_layer == 3);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 100));

  problem.pipelines = 2;
  check_infeasible(plan_optimal(problem), "2 pipelines would all need the pinned node 'c'");
  problem.pipelines = 1;
  const std::vector<Pin> between{{0, 0, "a"}, {1, 1, "b"}, {2, 2, "a"}};
  problem.pins = between;
  check_infeasible(plan_optimal(problem), "no plan fits with the pins, but one without does");
  problem.shared_nodes = true;
  const Plan shared = plan_optimal(problem).value();
  CHECK(shared.gap == 0);
  CHECK(shared.predicted.throughput_rps == Approx(1e6 / 20));
  problem.shared_nodes = false;

  const std::vector<std::size_t> cut{1};
  problem.forbidden_cuts = cut;
  check_infeasible(plan_optimal(problem), "are pinned to different nodes");
}

TEST_CASE("a pin to a node that cannot hold the layer is named") {
  const Profile profile = sample_profile({10, 10, 10});
  const std::vector<NodeSpec> nodes{{"big", 1_cpu, 0_B}, {"small", 1_cpu, 1_MiB}};
  const std::vector<Pin> pins{{1, 1, "small"}};
  Problem problem{profile, nodes};
  problem.pins = pins;
  check_infeasible(plan_optimal(problem), "node 'small' does not hold layer 'layer1' pinned to it");
}

TEST_CASE("forbidden cuts are not made") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  Problem problem{profile, nodes};
  problem.pipelines = 1;
  const std::vector<std::size_t> middle{1};
  problem.forbidden_cuts = middle;
  CHECK(plan_optimal(problem).value().predicted.throughput_rps == Approx(1e6 / 30));
  const std::vector<std::size_t> all{0, 1, 2};
  problem.forbidden_cuts = all;
  CHECK(plan_optimal(problem).value().pipelines[0].stages.size() == 1);
  const std::vector<NodeSpec> small{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 4_MiB}};
  check_infeasible(plan_optimal({profile, small, {}, Objective::throughput, 0, 0, 0, {}, all}),
                   "between which no measured cut is valid and allowed: needs at least 8.0 MiB");
}

TEST_CASE("a shared node holds several stages where that is quicker, and their memory adds up") {
  // The link back to the big node is cheap; the slow middle can only be cut out for the other one.
  const Profile profile = sample_profile({10, 40, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 2_MiB}};
  Problem problem{profile, nodes};
  problem.pipelines = 1;
  CHECK(plan_optimal(problem).value().predicted.throughput_rps == Approx(1e6 / 50));
  problem.shared_nodes = true;
  const Plan plan = plan_optimal(problem).value();
  CHECK(shape(plan) == "a:0-0>b:1-1>a:2-2 ");
  CHECK(plan.gap == 0);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 40));

  const std::vector<NodeSpec> tight{{"a", 1_cpu, 3_MiB}, {"b", 1_cpu, 2_MiB}};
  check_infeasible(plan_optimal({profile, tight, {}, Objective::throughput, 1, 0, 0, {}, {}, true}), "memory");
}

TEST_CASE("a model that keeps state gets one pipeline") {
  Profile profile = sample_profile({10, 10});
  profile.graph.layers[1].stateful = true;
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  CHECK(plan_optimal({profile, nodes}).value().pipelines.size() == 1);
  check_infeasible(plan_optimal({profile, nodes, {}, Objective::throughput, 2}), "layer 'layer1' keeps state");
}

TEST_CASE("absurd problems are refused with what is wrong") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<NodeSpec> two{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  const Profile good = sample_profile({10, 10, 10});
  const auto refused = [](const Problem& problem, Errc code, const std::string& part) {
    const auto plan = plan_optimal(problem);
    REQUIRE_FALSE(plan.has_value());
    INFO(plan.error().message);
    CHECK(plan.error().code == code);
    CHECK(plan.error().message.find(part) != std::string::npos);
  };

  refused({Profile{}, two}, Errc::ProfileInvalid, "no layers");
  for (const double bad : {nan, inf, -inf, -1.0}) {
    Profile profile = good;
    profile.layer_us[1] = bad;
    refused({profile, two}, Errc::ProfileInvalid, "layer 1 ('layer1')");
    profile = good;
    profile.whole_us = bad;
    refused({profile, two}, Errc::ProfileInvalid, "time of the whole model");
    profile = good;
    profile.cut_costs[0].suffix_us = bad;
    refused({profile, two}, Errc::ProfileInvalid, "cut after layer 0");
    const std::vector<NodeSpec> nodes{{"a", Cpus{bad}, 0_B}};
    refused({good, nodes}, Errc::InvalidArgument, "is not a CPU quota");
    const std::vector<LinkSpec> links{{"a", "b", 1_MiB, bad}};
    refused({good, two, links}, Errc::InvalidArgument, "link a -> b");
  }
  Profile heavy = good;
  heavy.graph.layers[0].weights = Bytes{~0ULL / 2};
  refused({heavy, two}, Errc::ProfileInvalid, "more memory than any machine has");
  refused({good, {}}, Errc::InvalidArgument, "no node is given");

  const auto with_pins = [&](std::vector<Pin> pins, const std::string& part) {
    Problem problem{good, two};
    problem.pins = pins;
    refused(problem, Errc::InvalidArgument, part);
  };
  with_pins({{0, 0, "c"}}, "there is no such node");
  with_pins({{2, 3, "a"}}, "the model's last layer is 2");
  with_pins({{2, 1, "a"}}, "the last layer comes before the first");
  with_pins({{0, 1, "a"}, {1, 2, "b"}}, "layer 1 is pinned to 'a' as well");

  const std::vector<std::size_t> cut{2};
  refused({good, two, {}, Objective::throughput, 0, 0, 0, {}, cut}, Errc::InvalidArgument, "cut 2 is forbidden");
  refused({good, two, {}, Objective::throughput, 3, 0, 2}, Errc::InvalidArgument, "exactly 3 pipelines are asked for");
  check_infeasible(plan_optimal({good, two, {}, Objective::throughput, ~std::size_t{0}}), "need as many nodes");
  CHECK(plan_optimal({good, two, {}, Objective::throughput, 0, ~std::size_t{0}, ~std::size_t{0}}).has_value());
}
