// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/edgeshard.hpp>
#include <amp4ec/plan/optimal.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

struct Instance {
  Profile profile;
  std::vector<NodeSpec> nodes;
  std::vector<LinkSpec> links;

  [[nodiscard]] Problem problem() const { return {profile, nodes, links}; }
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::size_t up_to(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n)(engine_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  double real(double low, double high) { return std::uniform_real_distribution<>(low, high)(engine_); }

 private:
  std::mt19937 engine_;
};

/// Up to 8 layers and 4 devices, some of them of one type; cuts that cost nothing, some of them not usable.
Instance make_instance(unsigned seed, bool memory_binds) {
  Random random(seed);
  Instance instance;
  Profile& profile = instance.profile;
  const std::size_t layers = 1 + random.up_to(7);
  for (std::size_t i = 0; i < layers; ++i) {
    profile.graph.layers.push_back({"l" + std::to_string(i), "op", 0, Bytes{1 + random.up_to(19)}, Bytes{}, false});
    profile.layer_us.push_back(random.real(1, 100));
    profile.whole_us += profile.layer_us.back();
  }
  double before = 0;
  for (std::size_t i = 0; i + 1 < layers; ++i) {
    before += profile.layer_us[i];
    profile.graph.cuts.push_back({random.chance(0.9), "", Bytes{random.up_to(100)}, 1});
    profile.cut_costs.push_back({before, profile.whole_us - before, random.chance(0.95)});
  }
  profile.process_memory = Bytes{random.up_to(5)};

  const std::size_t nodes = 2 + random.up_to(2);
  for (std::size_t i = 0; i < nodes; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    if (i > 0 && random.chance(0.4)) {
      instance.nodes.push_back(instance.nodes[random.up_to(i - 1)]);
      instance.nodes.back().name = name;
      continue;
    }
    instance.nodes.push_back({name, Cpus{random.real(0.1, 1.2)}, Bytes{memory_binds ? 30 + random.up_to(120) : 0}});
  }
  for (const NodeSpec& from : instance.nodes) {
    for (const NodeSpec& to : instance.nodes) {
      if (from.name == to.name || random.chance(0.2)) continue;
      instance.links.push_back({from.name, to.name, Bytes{1000000 + random.up_to(9000000)}, random.real(0, 30)});
    }
  }
  return instance;
}

/// EdgeShard's cost model, written down a second time: the sum of layers' times over the device's speed.
double compute(const Instance& instance, std::size_t layer, std::size_t node) {
  return instance.profile.layer_us[layer] / std::min(1.0, instance.nodes[node].cpus.count);
}

double send(const Instance& instance, std::size_t from, std::size_t to, std::size_t after_layer) {
  for (const LinkSpec& link : instance.links) {
    if (link.from != instance.nodes[from].name || link.to != instance.nodes[to].name) continue;
    return link.latency_us + 1e6 * static_cast<double>(instance.profile.graph.cuts[after_layer].crossing.count) /
                                 static_cast<double>(link.bandwidth.count);
  }
  return 0;
}

struct Costs {
  double latency_us = 0;
  double bottleneck_us = 0;
};

/// Every assignment of layers to nodes, moves at usable cuts only, memory of all stages on a node within its limit.
class BruteForce {
 public:
  explicit BruteForce(const Instance& instance) : instance_(instance), used_(instance.nodes.size()) {
    for (std::size_t n = 0; n < instance.nodes.size(); ++n) place(0, n, true, {}, 0, 1U << n);
  }

  double latency_us = inf;
  double bottleneck_us = inf;  ///< Of assignments that use each node for one stage.

 private:
  /// Layer `layer` on node `n`, `fresh`: as the first of a stage.
  void place(std::size_t layer, std::size_t n, bool fresh, Costs before, double stage_us, unsigned visited) {
    const Profile& profile = instance_.profile;
    const std::uint64_t needed =
        2 * profile.graph.layers[layer].weights.count + (fresh ? profile.process_memory.count : 0);
    if (instance_.nodes[n].memory.count > 0 && used_[n] + needed > instance_.nodes[n].memory.count) return;
    used_[n] += needed;
    Costs costs = before;
    costs.latency_us += compute(instance_, layer, n);
    stage_us += compute(instance_, layer, n);
    costs.bottleneck_us = std::max(costs.bottleneck_us, stage_us);
    if (layer + 1 == profile.graph.layers.size()) {
      latency_us = std::min(latency_us, costs.latency_us);
      if ((visited & twice) == 0) bottleneck_us = std::min(bottleneck_us, costs.bottleneck_us);
    } else {
      place(layer + 1, n, false, costs, stage_us, visited);
      const bool usable = profile.graph.cuts[layer].valid && profile.cut_costs[layer].measured;
      for (std::size_t to = 0; usable && to < instance_.nodes.size(); ++to) {
        if (to == n) continue;
        const double us = send(instance_, n, to, layer);
        const unsigned next = visited | 1U << to | ((visited >> to & 1U) != 0 ? twice : 0);
        place(layer + 1, to, true, {costs.latency_us + us, std::max(costs.bottleneck_us, us)}, 0, next);
      }
    }
    used_[n] -= needed;
  }

  static constexpr unsigned twice = 1U << 16U;  // some node is visited again
  const Instance& instance_;
  std::vector<std::uint64_t> used_;
};

/// What a plan costs in EdgeShard's model.
Costs costs_of(const Instance& instance, const Plan& plan) {
  Costs costs;
  const std::vector<Stage>& stages = plan.pipelines.at(0).stages;
  const auto index = [&](const Stage& stage) {
    return static_cast<std::size_t>(std::ranges::find(instance.nodes, stage.node, &NodeSpec::name) -
                                    instance.nodes.begin());
  };
  for (std::size_t s = 0; s < stages.size(); ++s) {
    double us = 0;
    for (std::size_t layer = stages[s].first_layer; layer <= stages[s].last_layer; ++layer) {
      us += compute(instance, layer, index(stages[s]));
    }
    costs.latency_us += us;
    costs.bottleneck_us = std::max(costs.bottleneck_us, us);
    if (s + 1 == stages.size()) break;
    const double link_us = send(instance, index(stages[s]), index(stages[s + 1]), stages[s].last_layer);
    costs.latency_us += link_us;
    costs.bottleneck_us = std::max(costs.bottleneck_us, link_us);
  }
  return costs;
}

bool close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b));
}

/// Valid, within memory, cut where cuts are valid and measured.
void require_usable(const Instance& instance, const Plan& plan) {
  REQUIRE(plan.pipelines.size() == 1);
  REQUIRE(validate_plan(plan, instance.profile.graph, instance.nodes).has_value());
  REQUIRE(check_memory(plan, instance.nodes).has_value());
  for (const Stage& stage : plan.pipelines[0].stages) {
    const bool at_end = stage.last_layer + 1 == instance.profile.graph.layers.size();
    REQUIRE((at_end || instance.profile.cut_costs[stage.last_layer].measured));
  }
}

bool each_node_once(const Plan& plan) {
  std::set<std::string> nodes;
  return std::ranges::all_of(plan.pipelines.at(0).stages,
                             [&](const Stage& stage) { return nodes.insert(stage.node).second; });
}

/// `optimal` for one pipeline and this objective.
Result<Plan> best_pipeline(const Instance& instance, Objective objective) {
  Problem problem = instance.problem();
  problem.objective = objective;
  problem.pipelines = 1;
  return plan_optimal(problem);
}

std::string path(const Plan& plan) {
  std::string text;
  for (const Stage& stage : plan.pipelines.at(0).stages) {
    text += fmt::format("{}{}:{}-{}", text.empty() ? "" : " ", stage.node, stage.first_layer, stage.last_layer);
  }
  return text;
}

/// Three layers of 1 MiB of weights, 2 MiB in a worker; a fast node and one at half its speed.
Instance forgetful() {
  Instance instance;
  instance.profile = sample_profile({1, 1, 10});
  instance.nodes = {{"fast", 1_cpu, 2_MiB}, {"slow", 0.5_cpu, 0_B}};
  return instance;
}

}  // namespace

TEST_CASE("edgeshard-latency equals brute force where memory does not bind") {
  std::size_t moved = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    const Instance instance = make_instance(seed, false);
    INFO("seed " << seed);
    const Plan plan = plan_edgeshard_latency(instance.problem()).value();
    require_usable(instance, plan);
    REQUIRE(close(costs_of(instance, plan).latency_us, BruteForce(instance).latency_us));
    if (plan.pipelines[0].stages.size() > 1) ++moved;
  }
  CHECK(moved == 0);  // one request alone gains nothing by leaving the fastest node
}

TEST_CASE("edgeshard-latency moves where memory makes it, and may come back to a device") {
  Instance instance;
  instance.profile = sample_profile({5, 1, 10});
  instance.nodes = {{"fast", 1_cpu, 4_MiB}, {"slow", 0.5_cpu, 0_B}};
  const Plan plan = plan_edgeshard_latency(instance.problem()).value();
  CHECK(plan.strategy == "edgeshard-latency");
  CHECK(path(plan) == "fast:0-0 slow:1-1 fast:2-2");
  CHECK(plan.predicted.latency_ms == Approx(0.016));  // Its model counts 17: it does not know of bursts.
  CHECK(plan.gap < 0);
  // With one stage a node the best is slow:0-0 fast:1-2, which no quota holds up.
  CHECK(best_pipeline(instance, Objective::latency).value().predicted.latency_ms == Approx(0.016));
}

TEST_CASE("edgeshard-latency keeps one memory vector a state: the best plan may be lost") {
  Instance instance = forgetful();
  // The quick start takes the fast node for layer 0, and with it the room that layer 2 needs.
  const Plan literal = plan_edgeshard_latency(instance.problem()).value();
  CHECK(path(literal) == "fast:0-0 slow:1-2");
  CHECK(costs_of(instance, literal).latency_us == Approx(23));
  CHECK(BruteForce(instance).latency_us == Approx(14));
  const Plan best = best_pipeline(instance, Objective::latency).value();
  CHECK(path(best) == "slow:0-1 fast:2-2");
  CHECK(costs_of(instance, best).latency_us == Approx(14));

  SECTION("or no plan be found at all") {
    instance.profile.graph.layers[2].weights = 3_MiB;
    instance.nodes = {{"fast", 1_cpu, 6_MiB}, {"slow", 0.5_cpu, 4_MiB}};
    CHECK(BruteForce(instance).latency_us == Approx(14));
    const auto none = plan_edgeshard_latency(instance.problem());
    REQUIRE_FALSE(none.has_value());
    CHECK(none.error().code == Errc::PlanInfeasible);
    CHECK(none.error().message.find("may miss one: use 'optimal'") != std::string::npos);
  }
}

TEST_CASE("edgeshard-latency on 352 random instances where memory binds") {
  std::size_t feasible = 0;
  std::size_t found = 0;
  std::size_t not_optimal = 0;
  std::size_t revisits = 0;
  std::size_t beaten = 0;
  for (unsigned seed = 0; feasible < 352; ++seed) {
    const Instance instance = make_instance(100000 + seed, true);
    const double best_us = BruteForce(instance).latency_us;
    const auto plan = plan_edgeshard_latency(instance.problem());
    INFO("seed " << 100000 + seed);
    if (best_us == inf) {
      REQUIRE_FALSE(plan.has_value());
      continue;
    }
    ++feasible;
    if (!plan) {
      REQUIRE(plan.error().code == Errc::PlanInfeasible);
      ++not_optimal;
      continue;
    }
    ++found;
    require_usable(instance, *plan);
    const double us = costs_of(instance, *plan).latency_us;
    REQUIRE(us >= best_us * (1 - 1e-9));
    if (!close(us, best_us)) ++not_optimal;
    // `optimal` gives each node one stage: it has to be as good as every plan that does so.
    const auto optimal = best_pipeline(instance, Objective::latency);
    if (!each_node_once(*plan)) {
      ++revisits;
      if (!optimal || optimal->predicted.latency_ms > plan->predicted.latency_ms * (1 + 1e-9)) ++beaten;
      continue;
    }
    REQUIRE(optimal.has_value());
    REQUIRE(optimal->predicted.latency_ms <= plan->predicted.latency_ms * (1 + 1e-9));
  }
  WARN("not optimal in " << not_optimal << " of " << feasible << ", " << feasible - found << " of them without a plan; "
                         << revisits << " plans use a node twice, " << beaten
                         << " of them better than the best with one stage a node");
  CHECK(not_optimal > 0);
  CHECK(found > 100);
}

TEST_CASE("edgeshard-throughput equals brute force") {
  std::size_t split = 0;
  std::size_t infeasible = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    const Instance instance = make_instance(seed, seed % 2 == 1);
    INFO("seed " << seed);
    const double best_us = BruteForce(instance).bottleneck_us;
    const auto plan = plan_edgeshard_throughput(instance.problem());
    if (best_us == inf) {
      REQUIRE_FALSE(plan.has_value());
      REQUIRE(plan.error().code == Errc::PlanInfeasible);
      ++infeasible;
      continue;
    }
    if (!plan) FAIL(plan.error().what());
    require_usable(instance, *plan);
    REQUIRE(each_node_once(*plan));
    REQUIRE(close(costs_of(instance, *plan).bottleneck_us, best_us));
    if (plan->pipelines[0].stages.size() > 1) ++split;
    // Cuts cost nothing here, so its model and ours agree.
    REQUIRE(close(best_pipeline(instance, Objective::throughput)->predicted.throughput_rps,
                  plan->predicted.throughput_rps));
  }
  CHECK(split > 1000);
  CHECK(infeasible > 20);
}

TEST_CASE("optimal is never worse than EdgeShard's plans where cuts cost something") {
  std::size_t better = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    Instance instance = make_instance(seed, seed % 2 == 1);
    Random random(seed);
    for (CutCost& cut : instance.profile.cut_costs) {
      cut.prefix_us += random.real(0, 20);
      cut.suffix_us += random.real(0, 20);
    }
    INFO("seed " << seed);
    const auto by_rate = plan_edgeshard_throughput(instance.problem());
    if (by_rate) {
      const Plan best = best_pipeline(instance, Objective::throughput).value();
      REQUIRE(best.predicted.throughput_rps >= by_rate->predicted.throughput_rps * (1 - 1e-9));
      if (best.predicted.throughput_rps > by_rate->predicted.throughput_rps * (1 + 1e-9)) ++better;
    }
    const auto by_latency = plan_edgeshard_latency(instance.problem());
    if (by_latency && each_node_once(*by_latency)) {
      const Plan best = best_pipeline(instance, Objective::latency).value();
      REQUIRE(best.predicted.latency_ms <= by_latency->predicted.latency_ms * (1 + 1e-9));
    }
  }
  CHECK(better > 50);
}

TEST_CASE("EdgeShard's cost model does not see what a cut costs; what is predicted does") {
  Instance instance;
  instance.profile = sample_profile({10, 10});
  instance.profile.cut_costs[0] = {30, 35, true};
  instance.nodes = {{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  const Plan plan = plan_edgeshard_throughput(instance.problem()).value();
  CHECK(plan.pipelines[0].stages.size() == 2);
  CHECK(plan.predicted.throughput_rps == Approx(1e6 / 35));  // where the whole model on one node gives 1e6 / 20
}

TEST_CASE("EdgeShard's strategies make no forbidden cut") {
  const Profile profile = sample_profile({10, 10, 10, 10});
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 6_MiB}, {"b", 1_cpu, 6_MiB}};
  const std::vector<std::size_t> forbidden{0, 1};
  Problem problem{profile, nodes};
  problem.forbidden_cuts = forbidden;
  CHECK(plan_edgeshard_latency(problem).value().pipelines[0].stages[0].last_layer == 2);
  CHECK(plan_edgeshard_throughput(problem).value().pipelines[0].stages[0].last_layer == 2);
}

TEST_CASE("EdgeShard's strategies say what they cannot do") {
  const auto check_refused = [](const Result<Plan>& plan, Errc code, const std::string& part) {
    REQUIRE_FALSE(plan.has_value());
    INFO(plan.error().message);
    CHECK(plan.error().code == code);
    CHECK(plan.error().message.find(part) != std::string::npos);
  };
  const Profile profile = sample_profile(std::vector<double>(4, 10));
  std::vector<NodeSpec> nodes;
  for (std::size_t i = 0; i < edgeshard_throughput_max_nodes; ++i) nodes.push_back({fmt::format("n{}", i), 1_cpu, 0_B});
  CHECK(plan_edgeshard_throughput({profile, nodes}).value().pipelines[0].stages.size() == 4);
  nodes.push_back({"more", 1_cpu, 0_B});
  check_refused(plan_edgeshard_throughput({profile, nodes}), Errc::NotSupported,
                "takes up to 12 nodes and here are 13");
  CHECK(plan_edgeshard_latency({profile, nodes}).value().pipelines[0].stages.size() == 1);
  while (nodes.size() <= edgeshard_latency_max_nodes) nodes.push_back({fmt::format("n{}", nodes.size()), 1_cpu, 0_B});
  check_refused(plan_edgeshard_latency({profile, nodes}), Errc::NotSupported, "takes up to 1000 nodes");

  const std::vector<NodeSpec> small{{"a", 1_cpu, 4_MiB}, {"b", 1_cpu, 4_MiB}};
  Problem problem{profile, small};
  problem.max_stages = 1;
  check_refused(plan_edgeshard_throughput(problem), Errc::PlanInfeasible, "one stage a node");
  check_refused(plan_edgeshard_latency(problem), Errc::PlanInfeasible, "makes 2, at most 1 are asked for");
}
