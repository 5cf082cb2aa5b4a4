// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/arrivals.hpp>
#include <amp4ec/plan/link_spec.hpp>

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <string_view>

namespace amp4ec {

/// A node, with all its workers, or a link that is down from one time to another.
/// Written NAME@SECOND[:DURATION] on the command line, with FROM:TO for the name of a link, e.g. "high@3:2" or
/// "high:low@3"; without a duration it does not come back.
struct Outage {
  std::string node;  ///< The node; of a link, where it begins.
  std::string to;    ///< Where the link ends; empty for a node.
  double at_s = 0;
  double duration_s = std::numeric_limits<double>::infinity();

  [[nodiscard]] bool is_link() const noexcept { return !to.empty(); }
  [[nodiscard]] std::string name() const { return is_link() ? fmt::format("{}:{}", node, to) : node; }

  bool operator==(const Outage&) const = default;
};

/// Failures at random: each worker and each link lives and is down for exponentially distributed times of these means,
/// in seconds. A mean life of 0: it never fails.
struct RandomFailures {
  double worker_life_s = 0;
  double worker_repair_s = 0;
  double link_life_s = 0;
  double link_repair_s = 0;

  bool operator==(const RandomFailures&) const = default;
};

/// Reads NAME@SECOND[:DURATION]. @error InvalidArgument with an example of the form.
inline Result<Outage> parse_outage(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::InvalidArgument,
                 fmt::format("failure '{}': {}; write NAME@SECOND[:DURATION], e.g. high@3:2, or high:low@3 for a link",
                             text, why)};
  };
  const auto at = text.find('@');
  if (at == std::string_view::npos) return refuse("there is no '@'");
  const std::string_view name = text.substr(0, at);
  const std::string_view when = text.substr(at + 1);
  const auto in_name = name.find(':');
  const auto in_when = when.find(':');

  Outage outage;
  outage.node = std::string(name.substr(0, in_name));
  if (!is_node_name(outage.node)) return refuse("NAME is a node's or FROM:TO");
  if (in_name != std::string_view::npos) {
    outage.to = std::string(name.substr(in_name + 1));
    if (!is_node_name(outage.to)) return refuse("NAME is a node's or FROM:TO");
  }
  const auto second = parse_number(when.substr(0, in_when));
  if (!second) return refuse(second.error().message);
  if (*second < 0) return refuse("SECOND is not negative");
  outage.at_s = *second;
  if (in_when == std::string_view::npos) return outage;
  const auto duration = parse_number(when.substr(in_when + 1));
  if (!duration) return refuse(duration.error().message);
  if (*duration <= 0) return refuse("DURATION is positive");
  outage.duration_s = *duration;
  return outage;
}

/// Each outage is of a node or link that is there, at a time from 0 on, for a positive time.
/// @error InvalidArgument otherwise.
inline Result<void> validate_outages(std::span<const Outage> outages, std::span<const NodeSpec> nodes,
                                     std::span<const LinkSpec> links) {
  for (const Outage& outage : outages) {
    const auto refuse = [&](std::string_view why) {
      return Error{Errc::InvalidArgument, fmt::format("failure of '{}': {}", outage.name(), why)};
    };
    const bool there =
        outage.is_link()
            ? std::ranges::any_of(
                  links, [&](const LinkSpec& link) { return link.from == outage.node && link.to == outage.to; })
            : std::ranges::find(nodes, outage.node, &NodeSpec::name) != nodes.end();
    if (!there) return refuse(outage.is_link() ? "there is no such link" : "there is no such node");
    if (!(outage.at_s >= 0 && outage.at_s <= longest_simulated_s))
      return refuse(fmt::format("{} is not a second to fail at; use 0 or later", outage.at_s));
    if (!(outage.duration_s > 0))
      return refuse(fmt::format("{} s is not a time to be down for; use a positive one", outage.duration_s));
  }
  return {};
}

/// @error InvalidArgument for times that are negative or not finite.
inline Result<void> validate_failures(const RandomFailures& failures) {
  struct Named {
    const char* name;
    double value;
  };
  for (const Named& time :
       {Named{"life of a worker", failures.worker_life_s}, Named{"repair of a worker", failures.worker_repair_s},
        Named{"life of a link", failures.link_life_s}, Named{"repair of a link", failures.link_repair_s}}) {
    if (!(time.value >= 0 && time.value <= longest_simulated_s)) {
      return Error{Errc::InvalidArgument,
                   fmt::format("the mean {} is {} s; use 0 or more (a life of 0: never fails)", time.name, time.value)};
    }
  }
  return {};
}

}  // namespace amp4ec
