// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/node_spec.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec {

/// What sending from one node to another costs, in that direction only: write two links for both.
/// Written FROM:TO:BANDWIDTH:LATENCY on the command line, e.g. "a:b:100MB:2ms".
struct LinkSpec {
  std::string from;
  std::string to;
  Bytes bandwidth;        ///< Bytes a second. Positive.
  double latency_us = 0;  ///< Added to every transfer. Not negative.

  bool operator==(const LinkSpec&) const = default;
};

/// Reads FROM:TO:BANDWIDTH:LATENCY; bandwidth in bytes a second, latency in s, ms or us.
/// @error InvalidArgument with an example of the form.
inline Result<LinkSpec> parse_link(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::InvalidArgument,
                 fmt::format("link '{}': {}; write FROM:TO:BANDWIDTH:LATENCY, e.g. a:b:100MB:2ms "
                             "(bytes a second; s, ms or us)",
                             text, why)};
  };
  if (std::ranges::count(text, ':') != 3) return refuse("expected four fields");
  std::array<std::string_view, 4> fields;
  std::string_view rest = text;
  for (std::string_view& field : fields) {
    field = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), field.size() + 1));
  }
  if (!is_node_name(fields[0]) || !is_node_name(fields[1])) return refuse("FROM and TO are names of nodes");
  if (fields[0] == fields[1]) return refuse("a link joins two different nodes");

  const auto bandwidth = parse_bytes(fields[2]);
  if (!bandwidth) return refuse(bandwidth.error().message);
  if (bandwidth->count == 0) return refuse("the bandwidth must be positive");

  struct Unit {
    std::string_view name;
    double in_us;
  };
  static constexpr Unit units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}};
  for (const Unit& unit : units) {
    if (!fields[3].ends_with(unit.name)) continue;
    const auto latency = parse_number(fields[3].substr(0, fields[3].size() - unit.name.size()));
    if (!latency || *latency < 0 || !std::isfinite(*latency * unit.in_us)) break;
    return LinkSpec{std::string(fields[0]), std::string(fields[1]), *bandwidth, *latency * unit.in_us};
  }
  return refuse(fmt::format("'{}' is not a latency", fields[3]));
}

/// Both ends are among the nodes, at most one link a direction, positive bandwidth. @error InvalidArgument otherwise.
inline Result<void> validate_links(std::span<const LinkSpec> links, std::span<const NodeSpec> nodes) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const LinkSpec& link : links) {
    for (const std::string_view end : {std::string_view(link.from), std::string_view(link.to)}) {
      if (std::ranges::find(nodes, end, &NodeSpec::name) == nodes.end()) {
        return Error{Errc::InvalidArgument,
                     fmt::format("link {} -> {}: there is no node '{}'", link.from, link.to, end)};
      }
    }
    if (link.from == link.to || !seen.emplace(link.from, link.to).second) {
      return Error{Errc::InvalidArgument,
                   fmt::format("link {} -> {}: given twice, or to itself; give one for each direction of two nodes",
                               link.from, link.to)};
    }
    if (link.bandwidth.count == 0 || !std::isfinite(link.latency_us) || link.latency_us < 0) {
      return Error{
          Errc::InvalidArgument,
          fmt::format("link {} -> {}: bandwidth must be positive and latency not negative", link.from, link.to)};
    }
  }
  return {};
}

}  // namespace amp4ec
