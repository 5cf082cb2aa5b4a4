// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/evaluate.hpp>

#include <limits>
#include <string>
#include <utility>
#include <vector>

using namespace amp4ec;

namespace {

const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 4_MiB}};

Stage stage(std::string node, std::size_t first, std::size_t last) {
  Stage result;
  result.node = std::move(node);
  result.first_layer = first;
  result.last_layer = last;
  return result;
}

Plan plan_of(std::vector<Pipeline> pipelines) {
  Plan plan;
  plan.pipelines = std::move(pipelines);
  return plan;
}

void check_refused(const Result<void>& result, Errc code, const std::string& part) {
  REQUIRE_FALSE(result.has_value());
  INFO(result.error().message);
  CHECK(result.error().code == code);
  CHECK(result.error().message.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("a plan is valid if it covers the layers in order, on known nodes, at valid cuts") {
  Profile profile = sample_profile({10, 20, 30, 40});
  reject_cut(profile, 1);
  const auto check = [&](const Plan& plan) { return validate_plan(plan, profile.graph, nodes); };

  CHECK(check(plan_of({{{stage("a", 0, 0), stage("b", 1, 3)}}, {{stage("a", 0, 3)}}})).has_value());
  CHECK(check(plan_of({{{stage("a", 0, 0), stage("b", 1, 2), stage("a", 3, 3)}}})).has_value());

  check_refused(check(plan_of({})), Errc::PlanInvalid, "no pipeline");
  check_refused(check(plan_of({Pipeline{}})), Errc::PlanInvalid, "ends before layer 0 of 4");
  check_refused(check(plan_of({{{stage("a", 1, 3)}}})), Errc::PlanInvalid, "starts at layer 1, but 0 comes next");
  check_refused(check(plan_of({{{stage("a", 0, 0), stage("b", 2, 3)}}})), Errc::PlanInvalid, "but 1 comes next");
  check_refused(check(plan_of({{{stage("a", 0, 2), stage("b", 2, 3)}}})), Errc::PlanInvalid, "but 3 comes next");
  check_refused(check(plan_of({{{stage("a", 0, 2)}}})), Errc::PlanInvalid, "ends before layer 3");
  check_refused(check(plan_of({{{stage("a", 0, 4)}}})), Errc::PlanInvalid, "last layer is 3");
  check_refused(check(plan_of({{{stage("a", 0, std::numeric_limits<std::size_t>::max())}}})), Errc::PlanInvalid,
                "last layer is 3");
  check_refused(check(plan_of({{{stage("a", 0, 3), stage("a", 4, 0)}}})), Errc::PlanInvalid, "ends at layer 0");
  check_refused(check(plan_of({{{stage("c", 0, 3)}}})), Errc::PlanInvalid, "no such node");
  check_refused(check(plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}})), Errc::CutRejected,
                "layer 1 ('layer1') would change the answer: alias crosses: a view of the input");

  Plan other = plan_of({{{stage("a", 0, 3)}}});
  other.model_hash = "other";
  check_refused(check(other), Errc::PlanInvalid, "model other");
}

TEST_CASE("evaluate fills in what is predicted") {
  const Profile profile = sample_profile({10, 20, 30, 40});
  const std::vector<LinkSpec> links{{"a", "b", 1000000_B, 500}};
  Plan edited = plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}});
  edited.gap = 0;

  const Plan plan = evaluate(edited, profile, nodes).value();
  const auto& stages = plan.pipelines[0].stages;
  CHECK(stages[0].time_us == 30);
  CHECK(stages[1].time_us == 140);
  CHECK(stages[0].memory == 4_MiB);
  CHECK(stages[0].crossing == 1000_B);
  CHECK(stages[1].crossing == 0_B);
  CHECK(stages[0].leaf_modules == 2);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 140));
  CHECK(plan.predicted.latency_ms == Approx(0.100));
  CHECK(plan.gap < 0);
  CHECK(plan.advice.find("stage 2 on 'b' is the bottleneck with 0.14 ms") != std::string::npos);

  SECTION("a slow link is the bottleneck and adds to the latency") {
    const Plan linked = evaluate(edited, profile, nodes, links).value();
    CHECK(linked.predicted.throughput_rps == Approx(1e6 / 1500));
    CHECK(linked.predicted.latency_ms == Approx(1.600));
    CHECK(linked.advice.find("the link a -> b is the bottleneck") != std::string::npos);
  }
  SECTION("pipelines add up, the fastest gives the latency") {
    const Plan both = evaluate(plan_of({{{stage("b", 0, 3)}}, {{stage("a", 0, 3)}}}), profile, nodes).value();
    CHECK(both.predicted.throughput_rps == Approx(1e6 / 100 + 1e6 / 200));
    CHECK(both.predicted.latency_ms == Approx(0.1));
  }
  SECTION("a node that serves several stages is charged for all of them") {
    const Plan looped =
        evaluate(plan_of({{{stage("a", 0, 0), stage("b", 1, 1), stage("a", 2, 3)}}}), profile, nodes).value();
    CHECK(looped.predicted.throughput_rps == Approx(1e6 / 80));
    const Plan shared =
        evaluate(plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}, {{stage("a", 0, 3)}}}), profile, nodes).value();
    CHECK(shared.predicted.throughput_rps == Approx(1e6 / 140 + 1e6 / 130));
  }
  SECTION("too little memory is told, not refused") {
    const Plan large = evaluate(plan_of({{{stage("b", 0, 3)}}}), profile, nodes).value();
    CHECK(large.advice.find("'b' would need 8.0 MiB, but has 4.0 MiB") != std::string::npos);
    check_refused(check_memory(large, nodes), Errc::PlanInfeasible, "'b' would need 8.0 MiB");
  }
  SECTION("a stage has the form that was found, or that of the whole model") {
    CHECK(stages[0].form.empty());
    Profile searched = profile;
    searched.found_forms = {{0, 3, "optimized for inference"}, {0, 1, "frozen"}};
    const Plan formed = evaluate(edited, searched, nodes).value();
    CHECK(formed.pipelines[0].stages[0].form == "frozen");
    CHECK(formed.pipelines[0].stages[1].form == "optimized for inference");
  }
  SECTION("what is not a valid plan is refused") {
    CHECK(evaluate(plan_of({}), profile, nodes).error().code == Errc::PlanInvalid);
    CHECK(evaluate(edited, Profile{}, nodes).error().code == Errc::ProfileInvalid);
  }
}

TEST_CASE("stages of several pipelines with the same node and layers are one worker in memory") {
  const Profile profile = sample_profile({10, 20});
  const Plan plan = evaluate(plan_of({{{stage("a", 0, 0), stage("b", 1, 1)}}, {{stage("a", 0, 0), stage("b", 1, 1)}}}),
                             profile, nodes)
                        .value();
  const auto room = [](Bytes memory) { return std::vector<NodeSpec>{{"a", 1_cpu, memory}, {"b", 1_cpu, 0_B}}; };
  CHECK(check_memory(plan, room(2_MiB)).has_value());
  CHECK_FALSE(check_memory(plan, room(2097151_B)).has_value());
}

TEST_CASE("impossible profiles are refused") {
  const Profile good = sample_profile({10, 20});
  REQUIRE(validate_profile(good).has_value());
  const auto refused = [&](auto&& spoil) {
    Profile bad = good;
    spoil(bad);
    const auto valid = validate_profile(bad);
    return !valid && valid.error().code == Errc::ProfileInvalid;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(refused([](Profile& p) { p = Profile{}; }));
  CHECK(refused([](Profile& p) { p.layer_us.pop_back(); }));
  CHECK(refused([](Profile& p) { p.cut_costs.clear(); }));
  CHECK(refused([](Profile& p) { p.graph.cuts.emplace_back(); }));
  CHECK(refused([](Profile& p) { p.whole_us = 0; }));
  CHECK(refused([&](Profile& p) { p.spread = nan; }));
  CHECK(refused([&](Profile& p) { p.layer_us[0] = nan; }));
  CHECK(refused([](Profile& p) { p.graph.layers[1].flops = -1; }));
  CHECK(refused([&](Profile& p) { p.contention = {2, nan}; }));
  CHECK(refused([](Profile& p) { p.contention = {2, 0.9}; }));
  CHECK(refused([](Profile& p) { p.contention = {0, 1}; }));
  CHECK(refused([&](Profile& p) { p.cut_costs[0].prefix_us = nan; }));
  CHECK(refused([](Profile& p) { p.cut_costs[0].suffix_us = -1; }));
  CHECK(refused([](Profile& p) { p.graph.leaves[0].first_layer = 3; }));
  CHECK(refused([](Profile& p) { p.graph.leaves[0].cost = -1; }));
  CHECK(refused([](Profile& p) { p.graph.layers[0].weights = Bytes{std::uint64_t{1} << 62U}; }));
}

TEST_CASE("one request alone computes at full speed until the quota of a period is used") {
  CHECK(alone_us(8000, 0.4, 20000) == 8000);
  CHECK(alone_us(500, 1, 20000) == 500);
  // Half a CPU. 15 ms begun in the first half of a period: 10, then a pause of 0 to 10, then 5. Begun in the second
  // half: what is left of the period and 10 more, between which lies a pause only where 5 to 10 were left: those finish
  // in 15.
  CHECK(alone_us(15000, 0.5, 20000) == Approx(0.5 * (15000 + 5000) + 0.5 * (15000 + 0.5 * 10000)));
  // Long work takes work / quota, less what is left of the last pause.
  CHECK(alone_us(10e6, 0.5, 20000) == Approx(20e6).epsilon(0.001));
  for (double work = 0; work < 50000; work += 100) {
    INFO(work);
    CHECK(alone_us(work + 100, 0.3, 20000) >= alone_us(work, 0.3, 20000) + 100);
    CHECK(alone_us(work, 0.3, 20000) <= work / 0.3 + 1e-6);
  }
  const Profile profile = sample_profile({10000, 20000});
  const Plan plan = plan_of({{{stage("a", 0, 0), stage("b", 1, 1)}}});
  const std::vector<NodeSpec> quick{{"a", 0.5_cpu, 0_B}, {"b", 0.5_cpu, 0_B, 50'000}};
  CHECK(evaluate(plan, profile, quick).value().predicted.latency_ms == Approx(30));
}

TEST_CASE("stages slow one another down while a plan is kept full, and not for one request alone") {
  Profile profile = sample_profile({100, 100});
  profile.contention = {3, 1.2};
  const Plan split = plan_of({{{stage("a", 0, 0), stage("b", 1, 1)}}});
  const auto predicted = [&](double cpus_of_a, double cpus_of_b) {
    return evaluate(split, profile, std::vector<NodeSpec>{{"a", Cpus{cpus_of_a}, 0_B}, {"b", Cpus{cpus_of_b}, 0_B}})
        .value()
        .predicted;
  };
  CHECK(predicted(0.5, 0.5).slowdown == 1);  // Not more than one CPU is busy.
  CHECK(predicted(1, 0.5).slowdown == Approx(1.05));
  CHECK(predicted(4, 1).slowdown == Approx(1.1));  // A worker uses one CPU.
  CHECK(predicted(1, 1).latency_ms == Approx(0.2));
  CHECK(predicted(1, 1).throughput_rps == Approx(1e4 / 1.1));

  profile.contention = {1, 1};
  CHECK(predicted(1, 1).throughput_rps == Approx(1e4));

  // Links are as quick as ever.
  profile.contention = {2, 1.2};
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  const auto linked = evaluate(split, profile, nodes, std::vector<LinkSpec>{{"a", "b", 1_GiB, 110}}).value();
  CHECK(linked.predicted.throughput_rps == Approx(1e6 / 120));
}

TEST_CASE("a cut that noise makes look faster than the whole gains nothing") {
  Profile profile = sample_profile({10, 10, 10});
  profile.cut_costs[0].suffix_us -= 8;
  profile.cut_costs[1].prefix_us -= 8;
  CHECK(segment_time_us(profile, 1, 1) == Approx(10));
  CHECK(segment_time_us(profile, 0, 2) == Approx(30));
  profile.cut_costs[1].prefix_us += 11;
  CHECK(segment_time_us(profile, 0, 1) == Approx(23));
}
