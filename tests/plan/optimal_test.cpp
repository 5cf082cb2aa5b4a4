// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/optimal.hpp>

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
  profile.cut_times[0].measured = false;
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

TEST_CASE("twelve nodes are planned, thirteen refused") {
  const Profile profile = sample_profile(std::vector<double>(20, 10));
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < 12; ++i) nodes.push_back({"n" + std::to_string(i), 1_cpu, 0_B});
  CHECK(plan_optimal({profile, nodes}).value().predicted.throughput_rps == Approx(12 * 1e6 / 200));
  nodes.push_back({"more", 1_cpu, 0_B});
  const auto refused = plan_optimal({profile, nodes});
  CHECK(refused.error().code == Errc::NotSupported);
  CHECK(refused.error().message.find("up to 12 nodes") != std::string::npos);
}
