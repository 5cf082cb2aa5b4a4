// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/plan/optimal.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
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
  std::size_t max_pipelines = 0;
  std::vector<Pin> pins;
  std::vector<std::size_t> forbidden_cuts;
  bool shared_nodes = false;
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

/// Memory as if it had been measured: it grows with prefix and suffix, and does not add up.
void measure_memory(Profile& profile, Random& random) {
  Bytes prefix = profile.process_memory;
  for (CutCost& cost : profile.cut_costs) {
    prefix += Bytes{random.chance(0.3) ? 0 : random.up_to(40)};
    cost.prefix_memory = prefix;
  }
  Bytes suffix = profile.process_memory;
  for (auto cost = profile.cut_costs.rbegin(); cost != profile.cut_costs.rend(); ++cost) {
    suffix += Bytes{random.chance(0.3) ? 0 : random.up_to(40)};
    cost->suffix_memory = suffix;
  }
  profile.whole_memory = std::max({prefix, suffix, Bytes{1}}) + Bytes{random.up_to(40)};
}

/// Some stages in the middle as if they had been measured: their time is no sum, and may be less than predicted.
void measure_segments(Profile& profile, Random& random) {
  const std::size_t layers = profile.graph.layers.size();
  for (std::size_t first = 1; first + 1 < layers; ++first) {
    for (std::size_t last = first; last + 1 < layers; ++last) {
      if (random.chance(0.2))
        profile.segments.push_back({first, last, std::round(random.real(0, 60)), Bytes{random.up_to(90)}});
    }
  }
}

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
    CutCost cost;
    cost.prefix_us = before + (cuts_cost ? time(5) : 0);
    cost.suffix_us = profile.whole_us - before + (cuts_cost ? time(5) : 0);
    cost.measured = random.chance(0.9);
    profile.cut_costs.push_back(cost);
  }
  profile.process_memory = Bytes{random.up_to(5)};
  profile.peak_activation = Bytes{random.up_to(5)};
  if (random.chance(0.4)) measure_memory(profile, random);
  if (random.chance(0.3)) measure_segments(profile, random);
  if (random.chance(0.3)) profile.contention = {2 + random.up_to(1), 1.25};

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
    if (!exact && random.chance(0.5)) instance.nodes.back().period_us = random.one_of({20.0, 50.0, 200.0});
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
  if (random.chance(0.2)) instance.max_pipelines = std::max(instance.pipelines, 1 + random.up_to(2));
  if (random.chance(0.25)) {
    const auto pin = [&](std::size_t first, std::size_t last) {
      instance.pins.push_back({first, last, instance.nodes[random.up_to(nodes - 1)].name});
    };
    const std::size_t first = random.up_to(layers - 1);
    const std::size_t last = first + random.up_to(std::min<std::size_t>(2, layers - 1 - first));
    pin(first, last);
    if (random.chance(0.5) && last + 1 < layers) {
      const std::size_t other = last + 1 + random.up_to(layers - last - 2);
      pin(other, other);
    }
  }
  while (layers > 1 && random.chance(0.25)) instance.forbidden_cuts.push_back(random.up_to(layers - 2));
  instance.shared_nodes = random.chance(0.25);
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

/// Every pipeline: each sequence of nodes (without repetition, unless they are shared), each choice of cuts. Of those
/// on the same nodes, one that is nowhere better than another is left out.
class Enumeration {
 public:
  explicit Enumeration(const Instance& instance)
      : instance_(instance),
        time_(instance.nodes.size(), 0),
        memory_(instance.nodes.size(), 0),
        link_time_(instance.links.size(), 0) {
    double busy = 0;
    for (const NodeSpec& node : instance.nodes) busy += std::min(1.0, node.cpus.count);
    const double others = static_cast<double>(instance.profile.contention.cpus) - 1;
    if (others > 0 && busy > 1)
      slowdown_ += (instance.profile.contention.slowdown - 1) * std::min(1.0, (busy - 1) / others);
    extend(0, instance.nodes.size(), 0, 0, 0);
  }
  [[nodiscard]] const std::vector<Candidate>& candidates() const { return candidates_; }

 private:
  [[nodiscard]] bool pinned_elsewhere(std::size_t layer, std::size_t node) const {
    return std::ranges::any_of(instance_.pins, [&](const Pin& pin) {
      return pin.first_layer <= layer && layer <= pin.last_layer && pin.node != instance_.nodes[node].name;
    });
  }
  [[nodiscard]] bool may_cut(std::size_t after) const {
    return instance_.profile.graph.cuts[after].valid && instance_.profile.cut_costs[after].measured &&
           std::ranges::find(instance_.forbidden_cuts, after) == instance_.forbidden_cuts.end();
  }

  void add(unsigned used, double latency) {
    double bottleneck = 0;
    for (const double time : time_) bottleneck = std::max(bottleneck, slowdown_ * time);
    for (const double time : link_time_) bottleneck = std::max(bottleneck, time);
    const Worth worth{1e6 / bottleneck, latency, *std::ranges::max_element(memory_)};
    const auto no_better = [](const Worth& a, const Worth& b) {
      return a.throughput <= b.throughput && a.latency_us >= b.latency_us && a.memory >= b.memory;
    };
    for (const Candidate& c : candidates_) {
      if (c.nodes == used && no_better(worth, c.worth)) return;
    }
    std::erase_if(candidates_, [&](const Candidate& c) { return c.nodes == used && no_better(c.worth, worth); });
    candidates_.push_back({used, worth});
  }

  void extend(std::size_t layer, std::size_t last_node, unsigned used, std::size_t stages, double latency) {
    const Profile& profile = instance_.profile;
    const std::size_t layers = profile.graph.layers.size();
    if (layer == layers) {
      add(used, latency);
      return;
    }
    if (instance_.max_stages > 0 && stages == instance_.max_stages) return;
    for (std::size_t n = 0; n < instance_.nodes.size(); ++n) {
      if (n == last_node || (!instance_.shared_nodes && (used >> n & 1U) != 0)) continue;
      const NodeSpec& node = instance_.nodes[n];
      double link = 0;
      std::size_t link_index = instance_.links.size();
      for (std::size_t i = 0; i < instance_.links.size() && layer > 0; ++i) {
        const LinkSpec& l = instance_.links[i];
        if (l.from != instance_.nodes[last_node].name || l.to != node.name) continue;
        link_index = i;
        link = l.latency_us + 1e6 * static_cast<double>(profile.graph.cuts[layer - 1].crossing.count) /
                                  static_cast<double>(l.bandwidth.count);
      }
      std::uint64_t weights = 0;
      for (std::size_t end = layer; end < layers && !pinned_elsewhere(end, n); ++end) {
        weights += profile.graph.layers[end].weights.count;
        const bool at_end = end + 1 == layers;
        if (!at_end && !may_cut(end)) continue;
        const std::uint64_t needed = memory_of(layer, end, weights);
        if (node.memory.count > 0 && memory_[n] + needed > node.memory.count) continue;
        const double prefix = at_end ? profile.whole_us : profile.cut_costs[end].prefix_us;
        const double suffix = layer == 0 ? profile.whole_us : profile.cut_costs[layer - 1].suffix_us;
        const double time =
            std::max(share_of(layer, end), measured_or(prefix + suffix - profile.whole_us, layer, end)) /
            (node.cpus.count < 1 ? node.cpus.count : 1);
        const std::vector<double> times = time_;
        const std::vector<double> link_times = link_time_;
        time_[n] += time;
        memory_[n] += needed;
        if (link_index < link_time_.size()) link_time_[link_index] += link;
        extend(end + 1, n, used | 1U << n, stages + 1, latency + link + alone(time, node));
        time_ = times;
        link_time_ = link_times;
        memory_[n] -= needed;
      }
    }
  }

  /// One request alone: period by period, averaged over the moment at which it comes. Between the moments where the
  /// number of pauses changes the time is linear in it, so that the middle tells the mean.
  static double alone(double time, const NodeSpec& node) {
    const double period = node.period_us;
    const double quota = std::min(1.0, node.cpus.count) * period;
    const double work = time * std::min(1.0, node.cpus.count);
    const auto time_from = [&](double moment) {
      double left = work - std::min(quota, period - moment);
      if (left <= 0) return work;
      double taken = period - moment;
      for (; left > quota; left -= quota) taken += period;
      return taken + left;
    };
    const double moments[] = {0, period - quota, period - std::fmod(work, quota), period};
    double sum = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double length = moments[i + 1] - moments[i];
      if (length > 0) sum += length * time_from((moments[i] + moments[i + 1]) / 2);
    }
    return sum / period;
  }

  [[nodiscard]] double share_of(std::size_t first, std::size_t last) const {
    double share = 0;
    for (std::size_t layer = first; layer <= last; ++layer) share += instance_.profile.layer_us[layer];
    return share;
  }

  [[nodiscard]] double measured_or(double predicted, std::size_t first, std::size_t last) const {
    for (const SegmentCost& segment : instance_.profile.segments) {
      if (segment.first_layer == first && segment.last_layer == last) return segment.us;
    }
    return predicted;
  }

  [[nodiscard]] std::uint64_t memory_of(std::size_t first, std::size_t last, std::uint64_t weights) const {
    const Profile& profile = instance_.profile;
    const std::uint64_t whole = profile.whole_memory.count;
    if (whole == 0) return profile.process_memory.count + profile.peak_activation.count + 2 * weights;
    const bool at_end = last + 1 == profile.graph.layers.size();
    const std::uint64_t prefix = at_end ? whole : profile.cut_costs[last].prefix_memory.count;
    const std::uint64_t suffix = first == 0 ? whole : profile.cut_costs[first - 1].suffix_memory.count;
    std::uint64_t least = profile.process_memory.count;
    std::uint64_t most = prefix + suffix < whole ? 0 : prefix + suffix - whole;
    for (const SegmentCost& segment : profile.segments) {
      if (segment.first_layer >= first && segment.last_layer <= last) least = std::max(least, segment.memory.count);
      if (segment.first_layer <= first && segment.last_layer >= last) most = std::min(most, segment.memory.count);
    }
    return std::max(least, most);
  }

  const Instance& instance_;
  double slowdown_ = 1;                // of stages while all nodes are busy
  std::vector<double> time_;           // of each node so far
  std::vector<std::uint64_t> memory_;  // of each node so far
  std::vector<double> link_time_;      // of each link so far
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
      : candidates_(candidates),
        pipelines_(instance.pipelines),
        most_(instance.pins.empty() ? instance.max_pipelines : 1),
        objective_(objective) {
    choose(0, 0, 0, {});
  }
  [[nodiscard]] const std::optional<Worth>& best() const { return best_; }

 private:
  void choose(std::size_t from, unsigned used, std::size_t count, const Worth& worth) {
    if (count > 0 && (pipelines_ == 0 || count == pipelines_) && (!best_ || better(worth, *best_, objective_))) {
      best_ = worth;
    }
    if ((pipelines_ > 0 && count == pipelines_) || (most_ > 0 && count == most_)) return;
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
  std::size_t most_;
  Objective objective_;
  std::optional<Worth> best_;
};

std::string describe(const Instance& instance) {
  std::string text =
      fmt::format("{} layers, pipelines {} (most {}), max_stages {}, links {}, {} pins, {} cuts forbidden,{} nodes",
                  instance.profile.graph.layers.size(), instance.pipelines, instance.max_pipelines, instance.max_stages,
                  instance.links.size(), instance.pins.size(), instance.forbidden_cuts.size(),
                  instance.shared_nodes ? " shared" : "");
  for (const NodeSpec& node : instance.nodes) {
    text += fmt::format(" {}:{}:{}", node.name, node.cpus.count, node.memory.count);
  }
  return text;
}

}  // namespace

namespace {

void check_limits(const Instance& instance, const Plan& plan) {
  REQUIRE(validate_plan(plan, instance.profile.graph, instance.nodes).has_value());
  REQUIRE(check_memory(plan, instance.nodes).has_value());
  if (instance.pipelines > 0) REQUIRE(plan.pipelines.size() == instance.pipelines);
  if (instance.max_pipelines > 0) REQUIRE(plan.pipelines.size() <= instance.max_pipelines);
  std::map<std::string, std::size_t> pipeline_of;
  for (std::size_t p = 0; p < plan.pipelines.size(); ++p) {
    const std::vector<Stage>& stages = plan.pipelines[p].stages;
    if (instance.max_stages > 0) REQUIRE(stages.size() <= instance.max_stages);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const Stage& stage = stages[s];
      const auto [known, fresh] = pipeline_of.emplace(stage.node, p);
      REQUIRE((fresh || (instance.shared_nodes && known->second == p)));
      for (const Pin& pin : instance.pins) {
        const bool apart = pin.last_layer < stage.first_layer || stage.last_layer < pin.first_layer;
        REQUIRE((apart || pin.node == stage.node));
      }
      if (s + 1 == stages.size()) continue;
      REQUIRE(instance.profile.cut_costs[stage.last_layer].measured);
      REQUIRE(std::ranges::find(instance.forbidden_cuts, stage.last_layer) == instance.forbidden_cuts.end());
      REQUIRE(stages[s + 1].node != stage.node);
    }
  }
}

/// The most memory that a node holds.
std::uint64_t largest_memory(const Plan& plan) {
  std::map<std::string, std::uint64_t> held;
  std::uint64_t largest = 0;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) largest = std::max(largest, held[stage.node] += stage.memory.count);
  }
  return largest;
}

}  // namespace

TEST_CASE("optimal equals brute force on random instances") {
  constexpr unsigned instances = 24000;
  std::size_t infeasible = 0;
  std::size_t split = 0;
  std::size_t several = 0;
  std::size_t pinned = 0;
  std::size_t twice = 0;
  std::size_t slowed = 0;
  for (unsigned seed = 0; seed < instances; ++seed) {
    Random random(seed);
    const Instance instance = make_instance(random);
    const Enumeration all(instance);
    for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
      const auto best = BruteForce(instance, all.candidates(), objective).best();
      const auto plan = plan_optimal({instance.profile, instance.nodes, instance.links, objective, instance.pipelines,
                                      instance.max_stages, instance.max_pipelines, instance.pins,
                                      instance.forbidden_cuts, instance.shared_nodes});
      INFO("seed " << seed << ", " << to_string(objective) << ": " << describe(instance));
      if (!best) {
        REQUIRE_FALSE(plan.has_value());
        REQUIRE(plan.error().code == Errc::PlanInfeasible);
        ++infeasible;
        continue;
      }
      if (!plan) FAIL(plan.error().what());
      REQUIRE(plan->gap == 0);
      check_limits(instance, *plan);
      const bool contended = plan->predicted.slowdown > 1;
      if (plan->pipelines.size() > 1) ++several;
      if (contended && !instance.links.empty()) ++slowed;
      if (!instance.pins.empty()) ++pinned;
      for (const Pipeline& pipeline : plan->pipelines) {
        if (pipeline.stages.size() > 1) ++split;
        if (pipeline.stages.size() > 2 && pipeline.stages[0].node == pipeline.stages[2].node) ++twice;
      }
      if (objective == Objective::latency) REQUIRE(close(plan->predicted.latency_ms * 1e3, best->latency_us));
      if (objective == Objective::memory) REQUIRE(largest_memory(*plan) == best->memory);
      if (objective == Objective::latency && (!instance.exact || contended)) {
        // Latencies that differ by rounding alone are ties to one side and not to the other; and ties of latency are
        // broken as if nodes did not slow one another down.
        REQUIRE(plan->predicted.throughput_rps <= best->throughput * (1 + 1e-9));
      } else {
        REQUIRE(close(plan->predicted.throughput_rps, best->throughput));
      }
    }
  }
  // The instances must exercise what they are there for.
  CHECK(infeasible > 1000);
  CHECK(split > 10000);
  CHECK(several > 3000);
  CHECK(pinned > 1000);
  CHECK(twice > 100);
  CHECK(slowed > 1000);
}
