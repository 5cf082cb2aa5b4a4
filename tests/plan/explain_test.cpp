// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/even.hpp>
#include <amp4ec/plan/explain.hpp>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace amp4ec;

namespace {

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

/// Of the best plan for the problem.
Explanation explain_best(const Problem& problem) {
  return explain(plan_optimal(problem).value(), problem).value();
}

const Alternative& alternative(const Explanation& explanation, const std::string& name) {
  const auto found = std::ranges::find(explanation.alternatives, name, &Alternative::name);
  INFO(name);
  REQUIRE(found != explanation.alternatives.end());
  return *found;
}

const Relaxation& relaxation(const Explanation& explanation, const std::string& change) {
  const auto found = std::ranges::find(explanation.relaxations, change, &Relaxation::change);
  INFO(change);
  REQUIRE(found != explanation.relaxations.end());
  return *found;
}

void check_says(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
}

const std::vector<NodeSpec> two{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};

std::vector<LinkSpec> both_ways(double latency_us) {
  return {{"a", "b", 1_GiB, latency_us}, {"b", "a", 1_GiB, latency_us}};
}

}  // namespace

TEST_CASE("an explanation names each bottleneck, the slack of nodes and links, and headroom in memory") {
  const Profile profile = sample_profile({10, 20, 30, 40});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 5_MiB}, {"c", 1_cpu, 1_GiB}};
  const Plan plan = plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}});

  const Explanation stages = explain(plan, {profile, nodes}).value();
  REQUIRE(stages.pipelines.size() == 1);
  CHECK(stages.pipelines[0].bottleneck == "stage 2 on 'b'");
  CHECK_FALSE(stages.pipelines[0].link);
  CHECK(stages.pipelines[0].node == "b");
  CHECK(stages.pipelines[0].time_us == Approx(140));
  CHECK(stages.pipelines[0].throughput_rps == Approx(1e6 / 140));
  CHECK(stages.pipelines[0].latency_ms == Approx(0.100));
  CHECK(stages.worth.predicted.latency_ms == Approx(0.100));
  CHECK(stages.worth.largest_stage == 4_MiB);
  REQUIRE(stages.nodes.size() == 3);
  CHECK(stages.nodes[0].busy == Approx(30.0 / 140));
  CHECK(stages.nodes[1].busy == Approx(1));
  CHECK(stages.nodes[2] == NodeUse{"c", 0, 0_B, 1_GiB});
  CHECK(stages.nodes[1].memory == 4_MiB);
  CHECK(stages.nodes[1].limit == 5_MiB);
  CHECK(stages.links.empty());

  const std::vector<LinkSpec> links{{"a", "b", 1000000_B, 500}};
  const Explanation linked = explain(plan, {profile, nodes, links}).value();
  CHECK(linked.pipelines[0].bottleneck == "the link a -> b");
  CHECK(linked.pipelines[0].link);
  CHECK(linked.pipelines[0].node == "a");
  CHECK(linked.pipelines[0].time_us == Approx(1500));
  CHECK(linked.pipelines[0].latency_ms == Approx(1.600));
  REQUIRE(linked.links.size() == 1);
  CHECK(linked.links[0].to == "b");
  CHECK(linked.links[0].busy == Approx(1));
  CHECK(linked.nodes[1].busy == Approx(140.0 / 1500));
}

TEST_CASE("a node that serves several pipelines is busy for all of them") {
  const Profile profile = sample_profile({10, 20, 30, 40});
  const Explanation shared =
      explain(plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}, {{stage("a", 0, 3)}}}), {profile, two}).value();
  CHECK(shared.pipelines[0].time_us == Approx(130));
  CHECK(shared.nodes[0].busy == Approx(1));
  CHECK(shared.nodes[1].busy == Approx(70.0 / 130));
}

TEST_CASE("one node below one CPU: its quota binds, and there is nothing to split over") {
  const Profile profile = sample_profile({10, 10, 20});
  const std::vector<NodeSpec> nodes{{"only", 0.5_cpu, 0_B}};
  const Explanation explanation = explain_best({profile, nodes});
  CHECK(explanation.limit.kind == LimitKind::cpu);
  CHECK(explanation.limit.where == "only");
  check_says(explanation.limit.sentence, "13750.0 requests/s instead of 12500.0 requests/s");
  CHECK(relaxation(explanation, "10 % more CPU on 'only'").gain == Approx(0.1));
  CHECK(relaxation(explanation, "one more node like 'only'").gain == Approx(1));
  CHECK(explanation.splitting == "splitting does not help here, because there is one node only");
  CHECK_FALSE(explanation.next_best.has_value());
}

TEST_CASE("replicas that keep every CPU busy: only more nodes help, and no split can") {
  const Profile profile = sample_profile({10, 10, 20});
  const Explanation explanation = explain_best({profile, two});
  CHECK(explanation.limit.kind == LimitKind::nodes);
  check_says(explanation.limit.sentence, "the CPUs are in full use");
  CHECK(relaxation(explanation, "one more node like 'a'").gain == Approx(0.5));
  CHECK(relaxation(explanation, "10 % more CPU on 'a'").gain == Approx(0).margin(1e-12));
  CHECK(explanation.splitting ==
        "splitting does not help here, because whole-model replicas keep all 2 nodes busy all the time, with 50000.0 "
        "requests/s, and no plan can do better than that; the best split gives 50000.0 requests/s");

  SECTION("of quotas below one CPU the one that brings most is named") {
    const std::vector<NodeSpec> quotas{{"low", 0.4_cpu, 0_B}, {"medium", 0.6_cpu, 0_B}};
    const Explanation limited = explain_best({profile, quotas});
    CHECK(limited.limit.kind == LimitKind::cpu);
    CHECK(limited.limit.where == "medium");
    CHECK(relaxation(limited, "10 % more CPU on 'medium'").gain == Approx(0.06));
    CHECK(relaxation(limited, "10 % more CPU on 'low'").gain == Approx(0.04));
  }
}

TEST_CASE("memory that keeps a node from its share binds, and the node is named") {
  const Profile profile = sample_profile({10, 10, 10, 10});  // 2 MiB a layer
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 8_MiB}, {"b", 1_cpu, Bytes{3900000}}};
  const Explanation explanation = explain_best({profile, nodes});
  CHECK(explanation.worth.predicted.throughput_rps == Approx(1e6 / 30));
  CHECK(explanation.limit.kind == LimitKind::memory);
  CHECK(explanation.limit.where == "b");
  check_says(explanation.limit.sentence, "without its limit of 3.7 MiB the best plan would give 50000.0 requests/s");
  CHECK(relaxation(explanation, "no memory limits").gain == Approx(0.5));
  CHECK(relaxation(explanation, "no memory limit on 'b'").gain == Approx(0.5));
  CHECK(relaxation(explanation, "no memory limit on 'a'").gain == Approx(0).margin(1e-12));
  // A tenth more is 4.09 MiB: room for a second layer.
  CHECK(relaxation(explanation, "10 % more memory on 'b'").gain == Approx(0.5));
  CHECK(relaxation(explanation, "10 % more CPU on 'b'").gain == Approx(0).margin(1e-12));
  CHECK(explanation.splitting ==
        "splitting helps: 33333.3 requests/s, where whole-model replicas alone give 25000.0 requests/s (+33.3 %)");

  SECTION("a split without which the model would not run at all") {
    const std::vector<NodeSpec> small{{"a", 1_cpu, 6_MiB}, {"b", 1_cpu, 2_MiB}};
    const Explanation forced = explain_best({profile, small});
    CHECK(forced.splitting == "splitting makes it possible: 33333.3 requests/s, where no node holds the whole model");
    CHECK(forced.limit.where == "b");
  }
  SECTION("where the bounds admit no plan the plan's own figures have to do") {
    const std::vector<NodeSpec> halves{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 4_MiB}};
    Problem problem{profile, halves};
    problem.pipelines = 2;
    const Explanation alone = explain(plan_of({{{stage("a", 0, 1), stage("b", 2, 3)}}}), problem).value();
    CHECK_FALSE(alone.replanned);
    CHECK(alone.limit.kind == LimitKind::cpu);
    CHECK(alone.splitting.empty());
  }
}

TEST_CASE("limits that bind only together are named together") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 1_MiB}};  // not even one layer fits 'b'
  const std::vector<LinkSpec> links = both_ways(100);
  Problem problem{profile, nodes, links};
  problem.pipelines = 1;
  const Explanation explanation = explain_best(problem);
  CHECK(relaxation(explanation, "no memory limits").gain == Approx(0).margin(1e-12));
  CHECK(relaxation(explanation, "links that cost nothing").gain == Approx(0).margin(1e-12));
  CHECK(explanation.limit.kind == LimitKind::memory);
  CHECK(explanation.limit.where.empty());
  CHECK(explanation.limit.sentence ==
        "memory limits and links together: with neither the best plan would give 50000.0 requests/s instead of 25000.0 "
        "requests/s");
}

TEST_CASE("links that cost too much bind, and are the reason not to split") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<LinkSpec> links = both_ways(100);
  Problem problem{profile, two, links};
  problem.pipelines = 1;
  const Explanation explanation = explain_best(problem);
  CHECK(explanation.worth.predicted.throughput_rps == Approx(25000));
  CHECK(explanation.limit.kind == LimitKind::link);
  // Both nodes and both directions are alike.
  CHECK((explanation.limit.where == "a -> b" || explanation.limit.where == "b -> a"));
  CHECK(relaxation(explanation, fmt::format("link {} costs nothing", explanation.limit.where)).gain == Approx(1));
  check_says(explanation.splitting,
             "splitting does not help here, because sending costs too much: the best split gives");
  check_says(explanation.splitting, "if links cost nothing 50000.0 requests/s, the whole model on each of 1 nodes");

  SECTION("a slow link in a split that memory forces") {
    const std::vector<NodeSpec> small{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 4_MiB}};
    const std::vector<LinkSpec> one_way{{"a", "b", 1_GiB, 50}, {"b", "a", 1_GiB, 60}};
    const Explanation forced = explain_best({profile, small, one_way});
    CHECK(forced.pipelines[0].bottleneck == "the link a -> b");
    CHECK(forced.limit.kind == LimitKind::link);
    CHECK(forced.limit.where == "a -> b");
  }
}

TEST_CASE("layers that cannot be shared out evenly bind") {
  Profile profile = sample_profile({10, 10, 40});
  Problem problem{profile, two};
  problem.pipelines = 1;
  const Explanation explanation = explain_best(problem);
  CHECK(explanation.worth.predicted.throughput_rps == Approx(25000));
  CHECK(explanation.limit.kind == LimitKind::granularity);
  check_says(explanation.limit.sentence, "33333.3 requests/s instead of 25000.0 requests/s");
  check_says(explanation.limit.sentence, "the longest stage is layers 2 to 2 on");
  CHECK(alternative(explanation, "2 pipelines").gain == Approx(1.0 / 3));
  check_says(explanation.splitting, "splitting helps: 25000.0 requests/s");

  SECTION("a model without a cut") {
    reject_cut(profile, 0);
    profile.cut_costs[1].measured = false;
    const Explanation whole = explain_best(problem);
    CHECK(whole.limit.kind == LimitKind::granularity);
    CHECK(whole.splitting == "splitting does not help here, because no cut of this model is both valid and measured");
  }
  SECTION("cuts that cost too much") {
    profile.cut_costs[0] = {60, 100, true};
    profile.cut_costs[1] = {70, 90, true};
    const Explanation costly = explain_best(problem);
    CHECK(costly.limit.kind == LimitKind::granularity);
    check_says(costly.splitting, "splitting does not help here, because the best split gives");
  }
}

TEST_CASE("bounds, pins and forbidden cuts are kept by what is said and compared") {
  const Profile profile = sample_profile({10, 10, 40});
  Problem problem{profile, two};
  problem.max_pipelines = 1;
  const Explanation one = explain_best(problem);
  CHECK(one.splitting.starts_with("splitting helps: 25000.0 requests/s"));
  CHECK(std::ranges::find(one.alternatives, "2 pipelines", &Alternative::name) == one.alternatives.end());
  const std::vector<std::size_t> all{0, 1};
  problem.forbidden_cuts = all;
  const Explanation uncut = explain_best(problem);
  CHECK(uncut.limit.kind == LimitKind::granularity);
  CHECK(uncut.splitting ==
        "splitting does not help here, because no cut of this model is both valid and measured, and not forbidden");

  Problem pinned{profile, two};
  const std::vector<Pin> pins{{0, 2, "a"}};
  pinned.pins = pins;
  CHECK(explain_best(pinned).splitting.find("replicas keep all") == std::string::npos);
}

TEST_CASE("one request alone: the fastest node does it all") {
  const Profile profile = sample_profile({10, 20, 30});
  // Their quotas hold at all times: no burst is short enough.
  const double period_us = 0.1;
  const std::vector<NodeSpec> nodes{{"slow", 0.5_cpu, 0_B, period_us}, {"fast", 1_cpu, 0_B, period_us}};
  Problem problem{profile, nodes};
  problem.objective = Objective::latency;
  const Explanation explanation = explain_best(problem);
  CHECK(explanation.limit.kind == LimitKind::cpu);
  CHECK(explanation.limit.where == "fast");
  check_says(explanation.limit.sentence, "more than one do not make a stage faster");
  check_says(explanation.splitting,
             "splitting does not help here, because one request alone passes the stages one after the other, and the "
             "whole model on 'fast' takes 0.06 ms for one request; the best split gives 0.07 ms");

  const std::vector<NodeSpec> slower{{"slow", 0.5_cpu, 0_B, period_us}, {"fast", 0.8_cpu, 0_B, period_us}};
  problem.nodes = slower;
  const Explanation limited = explain_best(problem);
  CHECK(limited.limit.where == "fast");
  CHECK(relaxation(limited, "10 % more CPU on 'fast'").gain == Approx(0.1));
  check_says(limited.limit.sentence, "one request alone is computed there");
}

TEST_CASE("the smallest largest stage: nodes bind until layers do") {
  const Profile profile = sample_profile({10, 10, 10});
  Problem problem{profile, two};
  problem.objective = Objective::memory;
  const Explanation few = explain_best(problem);
  CHECK(few.limit.kind == LimitKind::nodes);
  CHECK(few.worth.largest_stage == 4_MiB);
  CHECK(relaxation(few, "one more node like 'a'").worth.largest_stage == 2_MiB);
  check_says(few.limit.sentence, "2.0 MiB for the largest stage instead of 4.0 MiB for the largest stage");

  const std::vector<NodeSpec> three{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}, {"c", 1_cpu, 0_B}};
  problem.nodes = three;
  const Explanation enough = explain_best(problem);
  CHECK(enough.limit.kind == LimitKind::granularity);
  check_says(enough.limit.sentence, "the largest stage, of 2.0 MiB, cannot be cut further");

  problem.max_stages = 2;
  check_says(explain_best(problem).limit.sentence, "at most 2 stages are asked for");
}

TEST_CASE("alternatives say what other plans give, and the next best is named") {
  const Profile profile = sample_profile({10, 10, 10, 55});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 0.5_cpu, 0_B}};
  const Explanation explanation = explain_best({profile, nodes});
  CHECK(alternative(explanation, "best plan").same_plan);
  CHECK(alternative(explanation, "2 pipelines").same_plan);
  CHECK(alternative(explanation, "replicas only").same_plan);
  const Alternative& one = alternative(explanation, "1 pipeline");
  CHECK_FALSE(one.same_plan);
  CHECK(layout(one.plan) == "b:0-2 > a:3-3");
  CHECK(one.worth.predicted.throughput_rps == Approx(1e6 / 60));
  CHECK(one.gain == Approx((1e6 / 60) / (1e6 / 85 + 1e6 / 170) - 1));
  CHECK(layout(alternative(explanation, "split only").plan) == "b:0-2 > a:3-3");
  REQUIRE(explanation.next_best.has_value());
  CHECK(explanation.alternatives[*explanation.next_best].name == "1 pipeline");

  SECTION("what does not fit is left out") {
    const std::vector<NodeSpec> small{{"a", 1_cpu, 6_MiB}, {"b", 0.5_cpu, 6_MiB}};
    const Explanation split = explain_best({profile, small});
    std::vector<std::string> names;
    for (const Alternative& each : split.alternatives) names.push_back(each.name);
    CHECK(names == std::vector<std::string>{"best plan", "1 pipeline", "split only"});
    CHECK_FALSE(split.next_best.has_value());
  }
  SECTION("of a plan that is not the best one, the next best is better") {
    const Problem problem{profile, nodes};
    const Explanation even = explain(plan_even(problem).value(), problem).value();
    CHECK_FALSE(alternative(even, "best plan").same_plan);
    REQUIRE(even.next_best.has_value());
    const Alternative& next = even.alternatives[*even.next_best];
    CHECK(next.name == "best plan");
    CHECK(next.gain == Approx((1e6 / 85 + 1e6 / 170) / (1e6 / 130) - 1));  // even: 'b' has 65 us, at half speed
  }
}

TEST_CASE("a plan that does not fit says so first") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 0_B}};
  const Explanation explanation = explain(plan_of({{{stage("a", 0, 2), stage("b", 3, 3)}}}), {profile, nodes}).value();
  CHECK(explanation.limit.kind == LimitKind::memory);
  CHECK(explanation.limit.where == "a");
  check_says(explanation.limit.sentence, "the plan needs 6.0 MiB there and does not fit");
  CHECK(explain(plan_of({}), {profile, nodes}).error().code == Errc::PlanInvalid);
}

TEST_CASE("with many nodes the plan's own figures have to do") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  std::vector<NodeSpec> nodes;
  for (std::size_t n = 0; n <= explain_max_nodes; ++n) nodes.push_back({fmt::format("n{}", n), 1_cpu, 0_B});
  const Plan split = plan_of({{{stage("n0", 0, 2), stage("n1", 3, 3)}}});
  const Explanation explanation = explain(split, {profile, nodes}).value();
  CHECK_FALSE(explanation.replanned);
  CHECK(explanation.alternatives.empty());
  CHECK(explanation.relaxations.empty());
  CHECK(explanation.limit.kind == LimitKind::cpu);
  CHECK(explanation.limit.where == "n0");
  check_says(explanation.limit.sentence, "stage 1 on 'n0' is busy longest, 0.03 ms a request");
  check_says(explanation.splitting, "replicas keep all 9 nodes busy all the time");

  const std::vector<LinkSpec> links{{"n0", "n1", 1_GiB, 1000}};
  const Explanation linked = explain(split, {profile, nodes, links}).value();
  CHECK(linked.limit.kind == LimitKind::link);
  CHECK(linked.limit.where == "n0 -> n1");
  nodes.back().memory = 2_MiB;
  CHECK(explain(split, {profile, nodes}).value().splitting.empty());
}

TEST_CASE("statements hold on random problems") {
  std::size_t splits = 0;
  std::size_t kinds[5] = {};
  for (unsigned seed = 0; seed < 1000; ++seed) {
    std::mt19937 engine(seed);
    const auto up_to = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n)(engine); };
    std::vector<double> times;
    const std::size_t layers = 2 + up_to(6);
    for (std::size_t i = 0; i < layers; ++i) times.push_back(1 + static_cast<double>(up_to(99)));
    Profile profile = sample_profile(times);
    for (CutCost& cut : profile.cut_costs) cut.prefix_us += static_cast<double>(up_to(5));
    std::vector<NodeSpec> nodes;
    const std::size_t count = 1 + up_to(3);
    for (std::size_t n = 0; n < count; ++n) {
      const Bytes memory = up_to(1) == 0 ? 0_B : Bytes{(1 + up_to(14)) << 20U};
      nodes.push_back({fmt::format("n{}", n), Cpus{0.2 * static_cast<double>(1 + up_to(5))}, memory});
    }
    std::vector<LinkSpec> links;
    const bool linked = up_to(1) == 0;
    for (const NodeSpec& from : nodes) {
      for (const NodeSpec& to : nodes) {
        if (linked && from.name != to.name) {
          links.push_back({from.name, to.name, 1_GiB, static_cast<double>(up_to(200))});
        }
      }
    }
    for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
      const Problem problem{profile, nodes, links, objective, up_to(2), up_to(2)};
      const auto plan = plan_optimal(problem);
      if (!plan) continue;
      const Explanation explanation = explain(*plan, problem).value();
      INFO("seed " << seed << ", " << to_string(objective) << ": " << explanation.limit.sentence);
      REQUIRE(explanation.replanned);
      REQUIRE(explanation.alternatives.at(0).same_plan);
      REQUIRE_FALSE(explanation.limit.sentence.empty());
      REQUIRE_FALSE(explanation.splitting.empty());
      ++kinds[static_cast<std::size_t>(explanation.limit.kind)];
      for (const Relaxation& each : explanation.relaxations) REQUIRE(each.gain >= -1e-9);
      for (const NodeUse& node : explanation.nodes) REQUIRE((node.busy >= 0 && node.busy <= 1 + 1e-9));
      double rps = 0;
      for (const PipelineUse& use : explanation.pipelines) rps += use.throughput_rps;
      REQUIRE(rps == Approx(plan->predicted.throughput_rps));
      REQUIRE(explanation.worth.predicted.throughput_rps <= detail::ideal(problem).throughput_rps * (1 + 1e-9));
      const bool helps = explanation.splitting.starts_with("splitting does not help") == false;
      const bool split =
          std::ranges::any_of(plan->pipelines, [](const Pipeline& pipeline) { return pipeline.stages.size() > 1; });
      if (helps) REQUIRE(split);
      if (helps) ++splits;
    }
  }
  CHECK(splits > 100);
  for (const LimitKind kind :
       {LimitKind::cpu, LimitKind::memory, LimitKind::link, LimitKind::granularity, LimitKind::nodes}) {
    INFO(to_string(kind));
    CHECK(kinds[static_cast<std::size_t>(kind)] > 10);
  }
}

TEST_CASE("the best split of two nodes equals trying every cut") {
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 engine(seed);
    const auto up_to = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n)(engine); };
    std::vector<double> times;
    const std::size_t layers = 2 + up_to(6);
    for (std::size_t i = 0; i < layers; ++i) times.push_back(1 + static_cast<double>(up_to(99)));
    Profile profile = sample_profile(times);
    for (Layer& layer : profile.graph.layers) layer.weights = Bytes{1 + up_to(9)};
    profile.process_memory = Bytes{up_to(9)};
    const std::vector<NodeSpec> nodes{{"a", 1_cpu, Bytes{up_to(1) == 0 ? 0 : 20 + up_to(60)}},
                                      {"b", 0.5_cpu, Bytes{20 + up_to(60)}}};
    std::optional<double> best_us;
    const std::size_t last = times.size() - 1;
    for (std::size_t cut = 0; cut < last; ++cut) {
      for (const std::size_t first : {0U, 1U}) {
        const NodeSpec& from = nodes[first];
        const NodeSpec& to = nodes[1 - first];
        if (!fits(from, segment_memory(profile, 0, cut)) || !fits(to, segment_memory(profile, cut + 1, last))) continue;
        const double us = std::max(stage_time_us(profile, from, 0, cut), stage_time_us(profile, to, cut + 1, last));
        if (!best_us || us < *best_us) best_us = us;
      }
    }
    INFO("seed " << seed);
    const auto split = detail::best_split_plan({profile, nodes});
    REQUIRE(split.has_value() == best_us.has_value());
    if (!split) continue;
    REQUIRE(split->pipelines.size() == 1);
    REQUIRE(split->pipelines[0].stages.size() == 2);
    REQUIRE(split->predicted.throughput_rps == Approx(1e6 / *best_us));
  }
}
