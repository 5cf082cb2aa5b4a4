// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/what_if.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Finds what keeps the best plan from being better, by easing one limit after another and planning again.
///
/// Between the best plan and what the CPUs could give without any loss (`ideal`) lie three steps: memory limits, links,
/// and the rest, which is granularity: cuts that are too few or cost too much. The largest step is the limit; where
/// none is worth anything the CPUs are in full use, and a quota or the number of nodes is.
class BindingLimit {
 public:
  BindingLimit(const Problem& problem, const Plan& best) : problem_(problem), best_(best), worth_(worth_of(best)) {}

  /// Sets `relaxations` and `limit`.
  void find(Explanation& explanation) {
    const double by_memory = free_memory();
    const double by_links = free_links();
    const double by_cuts = perfect_cuts();
    more_cpu();
    more_nodes();
    const double most = std::max({by_memory, by_links, by_cuts});
    const double together = gain(worth_, free_, problem_.objective);
    if (std::max(by_memory, by_links) <= worthless_gain && together > std::max(worthless_gain, by_cuts)) {
      limit_ = {LimitKind::memory, "",
                fmt::format("memory limits and links together: with neither {}", instead(free_))};
    } else if (most <= worthless_gain) {
      limit_ = full_use();
    } else if (by_links == most) {
      limit_ = link_limit();
    } else if (by_memory == most) {
      limit_ = memory_limit();
    } else {
      limit_ = granularity();
    }
    ease_binding_node();
    std::ranges::stable_sort(relaxations_, std::ranges::greater(), &Relaxation::gain);
    explanation.relaxations = std::move(relaxations_);
    explanation.limit = std::move(limit_);
  }

 private:
  /// Notes what the best plan of the eased problem is worth, and returns the gain.
  double note(LimitKind kind, std::string change, std::string where, const std::optional<Plan>& plan) {
    const Worth worth = plan ? worth_of(*plan) : worth_;
    const double more = gain(worth_, worth, problem_.objective);
    relaxations_.push_back({kind, std::move(change), std::move(where), worth, more});
    return more;
  }

  [[nodiscard]] const Relaxation* noted(LimitKind kind, std::string_view where) const {
    const auto found = std::ranges::find_if(relaxations_, [&](const Relaxation& relaxation) {
      return relaxation.kind == kind && relaxation.where == where;
    });
    return found == relaxations_.end() ? nullptr : &*found;
  }

  [[nodiscard]] std::string instead(const Worth& worth) const {
    return fmt::format("the best plan would give {} instead of {}", worth_text(worth, problem_.objective),
                       worth_text(worth_, problem_.objective));
  }

  double free_memory() {
    free_ = worth_;
    if (std::ranges::all_of(problem_.nodes, [](const NodeSpec& node) { return node.memory.count == 0; })) return 0;
    const std::optional<Plan> plan = best_plan_with(problem_, without_memory_limits(problem_));
    if (plan) free_ = worth_of(*plan);
    return note(LimitKind::memory, "no memory limits", "", plan);
  }

  double free_links() {
    if (problem_.links.empty() || problem_.objective == Objective::memory) return 0;
    Problem changed = problem_;
    changed.links = {};
    free_links_plan_ = best_plan(changed);
    const std::vector<NodeSpec> nodes = without_memory_limits(problem_);
    changed.nodes = nodes;
    if (const std::optional<Plan> both = best_plan(changed)) free_ = worth_of(*both);
    return note(LimitKind::link, "links that cost nothing", "", free_links_plan_);
  }

  /// What is left once neither memory nor links matter.
  [[nodiscard]] double perfect_cuts() const {
    if (problem_.objective != Objective::memory) return gain(free_, {ideal(problem_), {}}, problem_.objective);
    return worth_.largest_stage <= largest_unit() ? infinity : 0;
  }

  /// The least that the largest stage can be, whatever the nodes.
  [[nodiscard]] Bytes largest_unit() const {
    const Segments segments(problem_.profile, problem_.forbidden_cuts);
    Bytes most;
    for (std::size_t unit = 0; unit < segments.end(); ++unit) most = std::max(most, segments.memory(unit, unit + 1));
    return most;
  }

  /// A stage takes one CPU at most, so a quota of one or more is not worth raising.
  void more_cpu() {
    if (problem_.objective == Objective::memory) return;
    std::set<std::string_view> used;
    for (const Pipeline& pipeline : best_.pipelines) {
      for (const Stage& stage : pipeline.stages) used.insert(stage.node);
    }
    for (std::size_t n = 0; n < problem_.nodes.size(); ++n) {
      if (used.contains(problem_.nodes[n].name) && problem_.nodes[n].cpus.count < 1) more_cpu_on(n);
    }
  }

  void more_cpu_on(std::size_t n) {
    std::vector<NodeSpec> nodes = nodes_of(problem_);
    nodes[n].cpus.count *= 1.1;
    note(LimitKind::cpu, fmt::format("10 % more CPU on '{}'", nodes[n].name), nodes[n].name,
         best_plan_with(problem_, nodes));
  }

  /// What the links of another node would cost is not known, so this is asked only where links do not matter.
  void more_nodes() {
    if (!problem_.links.empty() && problem_.objective != Objective::memory) return;
    std::vector<NodeSpec> nodes = nodes_of(problem_);
    NodeSpec another = *std::ranges::max_element(nodes, [](const NodeSpec& a, const NodeSpec& b) {
      const auto memory = [](const NodeSpec& node) { return node.memory.count == 0 ? ~0ULL : node.memory.count; };
      return std::pair(node_speed(a), memory(a)) < std::pair(node_speed(b), memory(b));
    });
    std::string change = fmt::format("one more node like '{}'", another.name);
    for (another.name = "another"; std::ranges::find(nodes, another.name, &NodeSpec::name) != nodes.end();) {
      another.name += "x";
    }
    nodes.push_back(std::move(another));
    note(LimitKind::nodes, std::move(change), "", best_plan_with(problem_, nodes));
  }

  [[nodiscard]] Limit memory_limit() {
    const double together = noted(LimitKind::memory, "")->gain;
    const Relaxation* single = nullptr;
    for (std::size_t n = 0; n < problem_.nodes.size(); ++n) {
      const NodeSpec& node = problem_.nodes[n];
      if (node.memory.count == 0) continue;
      std::vector<NodeSpec> nodes = nodes_of(problem_);
      nodes[n].memory = Bytes{};
      note(LimitKind::memory, fmt::format("no memory limit on '{}'", node.name), node.name,
           best_plan_with(problem_, nodes));
    }
    for (const Relaxation& relaxation : relaxations_) {
      if (relaxation.kind != LimitKind::memory || relaxation.where.empty() || relaxation.gain <= worthless_gain)
        continue;
      if (single == nullptr || relaxation.gain > single->gain) single = &relaxation;
    }
    if (single == nullptr) {
      return {LimitKind::memory, "",
              fmt::format("memory: without any limits {} ({:+.1f} %); no node's limit alone makes a difference",
                          instead(noted(LimitKind::memory, "")->worth), 100 * together)};
    }
    const auto node = std::ranges::find(problem_.nodes, single->where, &NodeSpec::name);
    return {LimitKind::memory, single->where,
            fmt::format("memory of '{}': without its limit of {} {}", single->where, format_bytes(node->memory),
                        instead(single->worth))};
  }

  [[nodiscard]] Limit link_limit() {
    const auto name = [](const LinkSpec& link) { return fmt::format("{} -> {}", link.from, link.to); };
    std::set<std::string> candidates = links_of(best_);
    if (free_links_plan_) candidates.merge(links_of(*free_links_plan_));
    for (std::size_t l = 0; l < problem_.links.size(); ++l) {
      if (!candidates.contains(name(problem_.links[l]))) continue;
      std::vector<LinkSpec> links(problem_.links.begin(), problem_.links.end());
      links.erase(links.begin() + static_cast<std::ptrdiff_t>(l));
      const std::string where = name(problem_.links[l]);
      note(LimitKind::link, fmt::format("link {} costs nothing", where), where, best_plan_with(problem_, links));
    }
    const Relaxation* single = nullptr;
    for (const Relaxation& relaxation : relaxations_) {
      if (relaxation.kind != LimitKind::link || relaxation.where.empty() || relaxation.gain <= worthless_gain) continue;
      if (single == nullptr || relaxation.gain > single->gain) single = &relaxation;
    }
    if (single == nullptr) {
      return {LimitKind::link, "",
              fmt::format("links: if none cost anything {}; no link alone makes a difference",
                          instead(noted(LimitKind::link, "")->worth))};
    }
    return {LimitKind::link, single->where,
            fmt::format("link {}: if it cost nothing {}", single->where, instead(single->worth))};
  }

  [[nodiscard]] static std::set<std::string> links_of(const Plan& plan) {
    std::set<std::string> links;
    for (const Pipeline& pipeline : plan.pipelines) {
      for (std::size_t s = 0; s + 1 < pipeline.stages.size(); ++s) {
        links.insert(fmt::format("{} -> {}", pipeline.stages[s].node, pipeline.stages[s + 1].node));
      }
    }
    return links;
  }

  [[nodiscard]] Limit granularity() const {
    if (problem_.objective == Objective::memory) {
      return {LimitKind::granularity, "",
              fmt::format("granularity: the largest stage, of {}, cannot be cut further",
                          format_bytes(worth_.largest_stage))};
    }
    const Stage& longest = longest_stage();
    return {
        LimitKind::granularity, "",
        fmt::format("granularity: shared out without any loss, the work would let the nodes give {} instead of {}; the "
                    "longest stage is layers {} to {} on '{}'",
                    worth_text({ideal(problem_), {}}, problem_.objective), worth_text(worth_, problem_.objective),
                    longest.first_layer, longest.last_layer, longest.node)};
  }

  /// Of the split pipelines; where nothing is split, the first replica.
  [[nodiscard]] const Stage& longest_stage() const {
    const Stage* longest = nullptr;
    for (const Pipeline& pipeline : best_.pipelines) {
      if (pipeline.stages.size() < 2) continue;
      for (const Stage& stage : pipeline.stages) {
        if (longest == nullptr || stage.time_us > longest->time_us) longest = &stage;
      }
    }
    return longest == nullptr ? best_.pipelines[0].stages[0] : *longest;
  }

  [[nodiscard]] Limit full_use() const {
    if (problem_.objective == Objective::memory) return too_few_stages();
    const Relaxation* most = nullptr;
    for (const Relaxation& relaxation : relaxations_) {
      if (relaxation.kind != LimitKind::cpu || relaxation.gain <= worthless_gain) continue;
      if (most == nullptr || relaxation.gain > most->gain) most = &relaxation;
    }
    if (most != nullptr) {
      return {LimitKind::cpu, most->where,
              fmt::format("CPU of '{}': {}; with 10 % more there {}", most->where,
                          problem_.objective == Objective::latency ? "one request alone is computed there"
                                                                   : "the CPUs are in full use",
                          instead(most->worth))};
    }
    if (problem_.objective == Objective::latency) {
      const std::string& node = fastest_pipeline().stages[0].node;
      return {
          LimitKind::cpu, node,
          fmt::format("CPU of '{}': one request alone takes as long as the whole model on one CPU, and more than one "
                      "do not make a stage faster",
                      node)};
    }
    return too_few_nodes("the CPUs are in full use, and more than one on a node do not make a stage faster");
  }

  [[nodiscard]] Limit too_few_stages() const {
    if (problem_.max_stages == 0) return too_few_nodes("with more, the largest stage could be cut further");
    return too_few_nodes(
        fmt::format("at most {} stages are asked for, and the largest could be cut further", problem_.max_stages));
  }

  [[nodiscard]] Limit too_few_nodes(std::string_view why) const {
    std::string sentence = fmt::format("number of nodes: {}", why);
    if (const Relaxation* more = noted(LimitKind::nodes, ""); more != nullptr && more->gain > worthless_gain) {
      sentence += fmt::format("; with {} {}", more->change, instead(more->worth));
    }
    return {LimitKind::nodes, "", std::move(sentence)};
  }

  [[nodiscard]] const Pipeline& fastest_pipeline() const {
    const auto sum = [](const Pipeline& pipeline) {
      double us = 0;
      for (const Stage& stage : pipeline.stages) us += stage.time_us;
      return us;
    };
    return *std::ranges::min_element(best_.pipelines, {}, sum);
  }

  /// What a tenth more of either would bring to the node that binds: the limit's, or else that of the longest stage.
  void ease_binding_node() {
    if (problem_.objective == Objective::memory && limit_.where.empty()) return;
    const bool named = limit_.kind == LimitKind::cpu || (limit_.kind == LimitKind::memory && !limit_.where.empty());
    const std::string name = named ? limit_.where : longest_stage().node;
    const auto node = std::ranges::find(problem_.nodes, name, &NodeSpec::name);
    const auto n = static_cast<std::size_t>(node - problem_.nodes.begin());
    if (problem_.objective != Objective::memory && noted(LimitKind::cpu, name) == nullptr) more_cpu_on(n);
    if (node->memory.count == 0) return;
    std::vector<NodeSpec> nodes = nodes_of(problem_);
    nodes[n].memory.count += node->memory.count / 10;
    note(LimitKind::memory, fmt::format("10 % more memory on '{}'", name), name, best_plan_with(problem_, nodes));
  }

  const Problem& problem_;
  const Plan& best_;
  Worth worth_;
  Worth free_;  // without memory limits, with links that cost nothing
  std::optional<Plan> free_links_plan_;
  std::vector<Relaxation> relaxations_;
  Limit limit_;
};

}  // namespace amp4ec::detail
