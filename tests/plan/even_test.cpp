// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/partitioner.hpp>

#include <string>
#include <vector>

using namespace amp4ec;

namespace {

std::vector<std::size_t> last_layers(const Plan& plan) {
  std::vector<std::size_t> result;
  for (const Stage& stage : plan.pipelines.at(0).stages) result.push_back(stage.last_layer);
  return result;
}

const std::vector<NodeSpec> three{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}, {"c", 1_cpu, 0_B}};

}  // namespace

TEST_CASE("even gives every node as many layers") {
  CHECK(last_layers(plan_even({sample_profile(std::vector<double>(9, 1)), three}).value()) ==
        std::vector<std::size_t>{2, 5, 8});
  CHECK(last_layers(plan_even({sample_profile(std::vector<double>(2, 1)), three}).value()) ==
        std::vector<std::size_t>{0, 1});
}

TEST_CASE("even takes other cuts where its own are not valid, and fewer where there are fewer") {
  Profile profile = sample_profile(std::vector<double>(9, 1));
  for (const std::size_t after : {2U, 3U, 4U, 5U, 6U}) reject_cut(profile, after);
  // Both wished cuts would be nearest to 1; the second leaves the first its place.
  CHECK(last_layers(plan_even({profile, three}).value()) == std::vector<std::size_t>{1, 7, 8});
  for (const std::size_t after : {0U, 1U}) reject_cut(profile, after);
  CHECK(last_layers(plan_even({profile, three}).value()) == std::vector<std::size_t>{7, 8});
  reject_cut(profile, 7);
  CHECK(last_layers(plan_even({profile, three}).value()) == std::vector<std::size_t>{8});
}

TEST_CASE("strategies are found by name") {
  const Profile profile = sample_profile({1, 2, 3});
  for (const std::string_view name : strategy_names) {
    const Strategy strategy = make_strategy(name).value();
    CHECK(strategy({profile, three}).value().strategy == name);
  }
  const auto unknown = make_strategy("best");
  CHECK(unknown.error().code == Errc::InvalidArgument);
  CHECK(unknown.error().message.find("optimal, amp4ec-greedy, amp4ec-capability, even, edgeshard-latency, "
                                     "edgeshard-throughput") != std::string::npos);
}

TEST_CASE("a partitioner hands its settings to the strategy") {
  const Profile profile = sample_profile({1, 2, 3});
  Partitioner partitioner;
  CHECK(partitioner.plan(profile, three).value().pipelines.size() == 3);
  partitioner.pipelines = 1;
  partitioner.max_stages = 2;
  partitioner.objective = Objective::memory;
  const Plan plan = partitioner.plan(profile, three).value();
  REQUIRE(plan.pipelines.size() == 1);
  CHECK(plan.pipelines[0].stages.size() == 2);
  CHECK(plan.objective == "memory");
  partitioner.forbidden_cuts = {0};
  partitioner.pins = {{2, 2, "a"}};
  const Plan limited = partitioner.plan(profile, three).value();
  CHECK(limited.pipelines[0].stages.back().node == "a");
  CHECK(limited.pipelines[0].stages[0].last_layer == 1);
  partitioner.strategy = [](const Problem&) -> Result<Plan> { return Error{Errc::Internal, "mine"}; };
  CHECK(partitioner.plan(profile, three).error().message == "mine");
}

TEST_CASE("strategies refuse what they cannot plan") {
  const Profile profile = sample_profile({1, 2, 3});
  for (const std::string_view name : strategy_names) {
    const Strategy strategy = make_strategy(name).value();
    CHECK(strategy({profile, {}}).error().code == Errc::InvalidArgument);
    CHECK(strategy({Profile{}, three}).error().code == Errc::ProfileInvalid);
  }
  Problem several{profile, three};
  several.pipelines = 2;
  for (const std::string_view name : strategy_names) {
    if (name == "optimal") continue;
    INFO(name);
    const auto refused = make_strategy(name).value()(several);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Errc::NotSupported);
    CHECK(refused.error().message.find("makes one pipeline, not 2") != std::string::npos);
  }
  const std::vector<Pin> pins{{1, 1, "b"}};
  Problem pinned{profile, three};
  pinned.pins = pins;
  CHECK(plan_even(pinned).error().code == Errc::NotSupported);
  CHECK(plan_amp4ec_greedy(pinned).error().message.find("pinned layers") != std::string::npos);
}

TEST_CASE("even leaves out forbidden cuts") {
  const std::vector<std::size_t> forbidden{2, 5};
  const Profile profile = sample_profile(std::vector<double>(9, 1));
  const Plan plan = plan_even({profile, three, {}, Objective::throughput, 0, 0, 0, {}, forbidden}).value();
  CHECK(last_layers(plan) == std::vector<std::size_t>{1, 4, 8});
}
