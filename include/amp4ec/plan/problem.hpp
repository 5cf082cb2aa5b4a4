// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/link_spec.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/profile.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace amp4ec {

/// What a plan shall be best at.
enum class Objective {
  throughput,  ///< Most requests a second when kept full.
  latency,     ///< Shortest time of one request alone; among equals, most throughput.
  memory,      ///< Smallest largest stage; among equals, most throughput.
};

constexpr std::string_view to_string(Objective objective) noexcept {
  switch (objective) {
    case Objective::throughput: return "throughput";
    case Objective::latency: return "latency";
    case Objective::memory: return "memory";
  }
  return "unknown";
}

/// @error InvalidArgument that lists the names.
inline Result<Objective> parse_objective(std::string_view name) {
  for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
    if (name == to_string(objective)) return objective;
  }
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not an objective; use throughput, latency or memory", name)};
}

/// Layers first_layer..last_layer (both included) run on this node, in every pipeline: a stage that holds one of them
/// is on that node.
struct Pin {
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  std::string node;

  bool operator==(const Pin&) const = default;
};

/// What a strategy is asked. Borrows everything: profile, nodes, links, pins and cuts must outlive it.
struct Problem {
  const Profile& profile;
  std::span<const NodeSpec> nodes;
  std::span<const LinkSpec> links = {};
  Objective objective = Objective::throughput;
  std::size_t pipelines = 0;                         ///< Exactly so many; 0: as many as are best.
  std::size_t max_stages = 0;                        ///< At most so many stages a pipeline; 0: no bound.
  std::size_t max_pipelines = 0;                     ///< At most so many pipelines; 0: no bound.
  std::span<const Pin> pins = {};                    ///< Layers that have a node of their own.
  std::span<const std::size_t> forbidden_cuts = {};  ///< Indices into graph.cuts: no plan may cut there.
  /// A node may hold several stages of its pipeline, one worker each; their times and their memory then add up.
  bool shared_nodes = false;
};

/// How fast a node runs a worker, relative to one unthrottled CPU: min(1, quota). Workers run on one thread below two
/// CPUs, so a quota past 1 does not shorten a stage; the gain of more threads on larger quotas is not predicted.
inline double node_speed(const NodeSpec& node) noexcept {
  return std::min(1.0, node.cpus.count);
}

/// Time that layers first..last keep a node busy, quota included, in microseconds: the average of many requests.
inline double stage_time_us(const Profile& profile, const NodeSpec& node, std::size_t first, std::size_t last) {
  return segment_time_us(profile, first, last) / node_speed(node);
}

/// Time that so much work takes on a node of this speed that had nothing to do before, in microseconds. The kernel's
/// bandwidth control lets it compute at full speed until speed * period of CPU time is used, and then pauses it to the
/// end of the period; the average over the moment of the period at which the work begins. Work that fits one period's
/// quota is not held up at all; much longer work takes work / speed. It never falls when work grows. A period below a
/// microsecond stands for a quota that is held at every moment.
inline double alone_us(double work_us, double speed, double period_us) noexcept {
  if (period_us < 1) return work_us / speed;
  const double quota_us = speed * period_us;
  if (work_us <= quota_us) return work_us;
  const double pause_us = period_us - quota_us;
  const double periods = std::ceil(work_us / quota_us) - 1;
  return work_us + pause_us / period_us * ((periods - 0.5) * pause_us + work_us - quota_us);
}

/// Time that layers first..last take on a node when one request is alone, in microseconds.
inline double stage_alone_us(const Profile& profile, const NodeSpec& node, std::size_t first, std::size_t last) {
  return alone_us(segment_time_us(profile, first, last), node_speed(node), node.period_us);
}

/// How much longer stages take while the plan is kept full than one request alone finds them: 1 while no more than one
/// CPU is busy, then in proportion up to `Profile::contention`. All nodes given count as busy, on the machine that was
/// measured, as those of one Runtime are; for nodes on machines of their own clear the profile's contention.
inline double slowdown_when_full(const Profile& profile, std::span<const NodeSpec> nodes) {
  if (profile.contention.cpus < 2) return 1;
  double busy = 0;
  for (const NodeSpec& node : nodes) busy += node_speed(node);
  const double share = std::clamp((busy - 1) / static_cast<double>(profile.contention.cpus - 1), 0.0, 1.0);
  return 1 + (profile.contention.slowdown - 1) * share;
}

/// Whether a worker of this size may live on the node.
constexpr bool fits(const NodeSpec& node, Bytes memory) noexcept {
  return node.memory.count == 0 || memory <= node.memory;
}

/// The link in this direction, or nullptr: then sending costs nothing.
inline const LinkSpec* find_link(std::span<const LinkSpec> links, std::string_view from, std::string_view to) noexcept {
  const auto link = std::ranges::find_if(links, [&](const LinkSpec& l) { return l.from == from && l.to == to; });
  return link == links.end() ? nullptr : &*link;
}

/// Time to send so many bytes, in microseconds: latency + bytes / bandwidth; 0 without a link (`nullptr`).
inline double link_time_us(const LinkSpec* link, Bytes crossing) noexcept {
  if (link == nullptr) return 0;
  return link->latency_us + 1e6 * static_cast<double>(crossing.count) / static_cast<double>(link->bandwidth.count);
}

/// Requests a second of a pipeline whose slowest stage or link takes so long. A time below one nanosecond counts as
/// one, so that a rate is never infinite.
inline double rate_rps(double bottleneck_us) noexcept {
  constexpr double shortest_us = 1e-3;
  return 1e6 / std::max(bottleneck_us, shortest_us);
}

}  // namespace amp4ec
