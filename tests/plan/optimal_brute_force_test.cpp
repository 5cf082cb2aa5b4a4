// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/plan/optimal.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

struct Instance {
  Profile profile;
  std::vector<NodeSpec> nodes;
  std::vector<LinkSpec> links;
  std::size_t pipelines = 0;
  std::size_t max_stages = 0;
  bool exact = false;  // all times and speeds are such that sums have no rounding: ties are real ties
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::size_t up_to(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n)(engine_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  double real(double low, double high) { return std::uniform_real_distribution<>(low, high)(engine_); }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[up_to(values.size() - 1)];
  }

 private:
  std::mt19937 engine_;
};

Instance make_instance(Random& random) {
  Instance instance;
  instance.exact = random.chance(0.5);
  const bool exact = instance.exact;
  const auto time = [&](double most) { return exact ? std::round(random.real(0, most)) : random.real(0, most); };

  Profile& profile = instance.profile;
  const std::size_t layers = 1 + random.up_to(7);
  for (std::size_t i = 0; i < layers; ++i) {
    profile.graph.layers.push_back({"l" + std::to_string(i), "op", 0, Bytes{random.up_to(20)}, Bytes{}, false});
    profile.layer_us.push_back(1 + time(exact ? 8 : 100));
    profile.whole_us += profile.layer_us.back();
  }
  const bool cuts_cost = random.chance(0.5);
  double before = 0;
  for (std::size_t i = 0; i + 1 < layers; ++i) {
    before += profile.layer_us[i];
    profile.graph.cuts.push_back({random.chance(0.85), "", Bytes{random.up_to(100)}, 1});
    profile.cut_times.push_back({before + (cuts_cost ? time(5) : 0),
                                 profile.whole_us - before + (cuts_cost ? time(5) : 0), random.chance(0.9)});
  }
  profile.process_memory = Bytes{random.up_to(5)};
  profile.peak_activation = Bytes{random.up_to(5)};

  const std::size_t nodes = 1 + random.up_to(3);
  const bool memory_binds = random.chance(0.6);
  for (std::size_t i = 0; i < nodes; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    if (i > 0 && random.chance(0.4)) {
      instance.nodes.push_back(instance.nodes[random.up_to(i - 1)]);
      instance.nodes.back().name = name;
      continue;
    }
    const double cpus = exact ? random.one_of({0.25, 0.5, 1.0, 2.0}) : random.one_of({0.4, 0.6, 1.0, 1.5, 0.1});
    instance.nodes.push_back({name, Cpus{cpus}, Bytes{memory_binds ? 20 + random.up_to(150) : 0}});
  }
  const double linked = random.one_of({0.0, 0.3, 1.0});
  for (const NodeSpec& from : instance.nodes) {
    for (const NodeSpec& to : instance.nodes) {
      if (from.name == to.name || !random.chance(linked)) continue;
      instance.links.push_back(
          {from.name, to.name, Bytes{exact ? 1000000 : 100000 + random.up_to(10000000)}, time(20)});
    }
  }
  instance.pipelines = random.up_to(2);
  instance.max_stages = random.chance(0.3) ? 1 + random.up_to(2) : 0;
  return instance;
}

/// What a plan is worth; computed here from the formulas, without the planner's code.
struct Worth {
  double throughput = 0;
  double latency_us = inf;
  std::uint64_t memory = 0;
};

/// A pipeline of the enumeration.
struct Candidate {
  unsigned nodes = 0;
  Worth worth;
};

/// Every pipeline: each order of each choice of nodes, each choice of cuts.
class Enumeration {
 public:
  explicit Enumeration(const Instance& instance) : instance_(instance) {
    extend(0, instance.nodes.size(), 0, 0, 0, 0, 0);
  }
  [[nodiscard]] const std::vector<Candidate>& candidates() const { return candidates_; }

 private:
  void extend(std::size_t layer, std::size_t last_node, unsigned used, std::size_t stages, double bottleneck,
              double latency, std::uint64_t memory) {
    const Profile& profile = instance_.profile;
    const std::size_t layers = profile.graph.layers.size();
    if (layer == layers) {
      candidates_.push_back({used, {1e6 / bottleneck, latency, memory}});
      return;
    }
    if (instance_.max_stages > 0 && stages == instance_.max_stages) return;
    for (std::size_t n = 0; n < instance_.nodes.size(); ++n) {
      if ((used >> n & 1U) != 0) continue;
      const NodeSpec& node = instance_.nodes[n];
      double link = 0;
      if (layer > 0) {
        for (const LinkSpec& l : instance_.links) {
          if (l.from != instance_.nodes[last_node].name || l.to != node.name) continue;
          link = l.latency_us + 1e6 * static_cast<double>(profile.graph.cuts[layer - 1].crossing.count) /
                                    static_cast<double>(l.bandwidth.count);
        }
      }
      std::uint64_t weights = 0;
      for (std::size_t end = layer; end < layers; ++end) {
        weights += profile.graph.layers[end].weights.count;
        const bool at_end = end + 1 == layers;
        if (!at_end && (!profile.graph.cuts[end].valid || !profile.cut_times[end].measured)) continue;
        const std::uint64_t needed = profile.process_memory.count + profile.peak_activation.count + 2 * weights;
        if (node.memory.count > 0 && needed > node.memory.count) continue;
        const double prefix = at_end ? profile.whole_us : profile.cut_times[end].prefix_us;
        const double suffix = layer == 0 ? profile.whole_us : profile.cut_times[layer - 1].suffix_us;
        const double time =
            std::max(0.0, prefix + suffix - profile.whole_us) / (node.cpus.count < 1 ? node.cpus.count : 1);
        extend(end + 1, n, used | 1U << n, stages + 1, std::max({bottleneck, link, time}), latency + link + time,
               std::max(memory, needed));
      }
    }
  }

  const Instance& instance_;
  std::vector<Candidate> candidates_;
};

bool close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b));
}

/// Whether a is better than b by the objective, ties within rounding broken by throughput.
bool better(const Worth& a, const Worth& b, Objective objective) {
  if (objective == Objective::latency && !close(a.latency_us, b.latency_us)) return a.latency_us < b.latency_us;
  if (objective == Objective::memory && a.memory != b.memory) return a.memory < b.memory;
  return a.throughput > b.throughput && !close(a.throughput, b.throughput);
}

/// The best of all sets of disjoint pipelines, by trying every one.
class BruteForce {
 public:
  BruteForce(const Instance& instance, const std::vector<Candidate>& candidates, Objective objective)
      : candidates_(candidates), pipelines_(instance.pipelines), objective_(objective) {
    choose(0, 0, 0, {});
  }
  [[nodiscard]] const std::optional<Worth>& best() const { return best_; }

 private:
  void choose(std::size_t from, unsigned used, std::size_t count, const Worth& worth) {
    if (count > 0 && (pipelines_ == 0 || count == pipelines_) && (!best_ || better(worth, *best_, objective_))) {
      best_ = worth;
    }
    if (pipelines_ > 0 && count == pipelines_) return;
    for (std::size_t i = from; i < candidates_.size(); ++i) {
      const Candidate& candidate = candidates_[i];
      if ((candidate.nodes & used) != 0) continue;
      choose(i + 1, used | candidate.nodes, count + 1,
             {worth.throughput + candidate.worth.throughput, std::min(worth.latency_us, candidate.worth.latency_us),
              std::max(worth.memory, candidate.worth.memory)});
    }
  }

  const std::vector<Candidate>& candidates_;
  std::size_t pipelines_;
  Objective objective_;
  std::optional<Worth> best_;
};

std::string describe(const Instance& instance) {
  std::string text =
      fmt::format("{} layers, pipelines {}, max_stages {}, links {}, nodes", instance.profile.graph.layers.size(),
                  instance.pipelines, instance.max_stages, instance.links.size());
  for (const NodeSpec& node : instance.nodes) {
    text += fmt::format(" {}:{}:{}", node.name, node.cpus.count, node.memory.count);
  }
  return text;
}

}  // namespace

TEST_CASE("optimal equals brute force on random instances") {
  constexpr unsigned instances = 10000;
  std::size_t infeasible = 0;
  std::size_t split = 0;
  std::size_t several = 0;
  for (unsigned seed = 0; seed < instances; ++seed) {
    Random random(seed);
    const Instance instance = make_instance(random);
    const Enumeration all(instance);
    for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
      const auto best = BruteForce(instance, all.candidates(), objective).best();
      const auto plan = plan_optimal(
          {instance.profile, instance.nodes, instance.links, objective, instance.pipelines, instance.max_stages});
      INFO("seed " << seed << ", " << to_string(objective) << ": " << describe(instance));
      if (!best) {
        REQUIRE_FALSE(plan.has_value());
        REQUIRE(plan.error().code == Errc::PlanInfeasible);
        ++infeasible;
        continue;
      }
      if (!plan) FAIL(plan.error().what());
      REQUIRE(validate_plan(*plan, instance.profile.graph, instance.nodes).has_value());
      REQUIRE(check_memory(*plan, instance.nodes).has_value());
      if (instance.pipelines > 0) REQUIRE(plan->pipelines.size() == instance.pipelines);

      std::uint64_t memory = 0;
      std::vector<std::string> used;
      for (const Pipeline& pipeline : plan->pipelines) {
        if (instance.max_stages > 0) REQUIRE(pipeline.stages.size() <= instance.max_stages);
        if (pipeline.stages.size() > 1) ++split;
        for (const Stage& stage : pipeline.stages) {
          memory = std::max(memory, stage.memory.count);
          used.push_back(stage.node);
          const bool at_end = stage.last_layer + 1 == instance.profile.graph.layers.size();
          REQUIRE((at_end || instance.profile.cut_times[stage.last_layer].measured));
        }
      }
      if (plan->pipelines.size() > 1) ++several;
      std::ranges::sort(used);
      REQUIRE(std::ranges::adjacent_find(used) == used.end());

      if (objective == Objective::latency) REQUIRE(close(plan->predicted.latency_ms * 1e3, best->latency_us));
      if (objective == Objective::memory) REQUIRE(memory == best->memory);
      if (objective == Objective::latency && !instance.exact) {
        // Latencies that differ by rounding alone are ties to one side and not to the other.
        REQUIRE(plan->predicted.throughput_rps <= best->throughput * (1 + 1e-9));
      } else {
        REQUIRE(close(plan->predicted.throughput_rps, best->throughput));
      }
    }
  }
  // The instances must exercise what they are there for.
  CHECK(infeasible > 300);
  CHECK(split > 1000);
  CHECK(several > 1000);
}
