// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <algorithm>
#include <cctype>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>

namespace amp4ec {

/// A place with limits. Written NAME:CPUS:MEMORY on the command line, e.g. "high:1.0:1GiB".
struct NodeSpec {
  std::string name;  ///< Letters, digits, '-', '_' and '.'; unique among the nodes of a Runtime.
  Cpus cpus;         ///< CPU quota. Positive.
  Bytes memory;      ///< Memory limit of everything that runs on the node. 0: no limit.
  /// How often the kernel refills the quota, for predictions. A Runtime sets `RuntimeOptions::cpu_period` on all nodes.
  double period_us = 20'000;
  double price = 0;  ///< Of one second of CPU time there, in any unit: money, grams of CO2. Only reported.

  bool operator==(const NodeSpec&) const = default;
};

/// Node names become folder names of cgroups: up to 64 letters, digits, '-', '_' and '.', the first a letter or digit.
inline bool is_node_name(std::string_view name) noexcept {
  constexpr std::size_t longest = 64;
  const auto alphanumeric = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return !name.empty() && name.size() <= longest && alphanumeric(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

/// @error InvalidArgument if the name has another form than `is_node_name` or the CPU quota is not positive.
inline Result<void> validate_node(const NodeSpec& node) {
  if (!is_node_name(node.name)) {
    return Error{
        Errc::InvalidArgument,
        fmt::format("'{}' is not a node name; use up to 64 letters, digits, '-', '_' and '.', e.g. high", node.name)};
  }
  if (!std::isfinite(node.cpus.count) || node.cpus.count <= 0) {
    return Error{
        Errc::InvalidArgument,
        fmt::format("node '{}': {} is not a CPU quota; write a positive number, e.g. 0.4", node.name, node.cpus.count)};
  }
  if (!std::isfinite(node.period_us) || node.period_us <= 0) {
    return Error{
        Errc::InvalidArgument,
        fmt::format("node '{}': {} us is not a period of a CPU quota; use a positive one", node.name, node.period_us)};
  }
  if (!std::isfinite(node.price) || node.price < 0) {
    return Error{Errc::InvalidArgument, fmt::format("node '{}': {} is not a price of a second of CPU time; write a "
                                                    "number from 0",
                                                    node.name, node.price)};
  }
  return {};
}

/// Every node valid, no name twice. @error InvalidArgument, also when there is no node at all.
inline Result<void> validate_nodes(std::span<const NodeSpec> nodes) {
  if (nodes.empty()) return Error{Errc::InvalidArgument, "no node is given; add for example --node high:1.0:1GiB"};
  std::unordered_set<std::string_view> names;
  for (const NodeSpec& node : nodes) {
    if (auto valid = validate_node(node); !valid) return valid;
    if (!names.insert(node.name).second) {
      return Error{Errc::InvalidArgument, fmt::format("two nodes are called '{}'; give each its own name", node.name)};
    }
  }
  return {};
}

/// Reads NAME:CPUS:MEMORY, e.g. "high:1.0:1GiB". @error InvalidArgument with an example of the form.
inline Result<NodeSpec> parse_node_spec(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::InvalidArgument, fmt::format("node '{}': {}; write NAME:CPUS:MEMORY, e.g. high:1.0:1GiB "
                                                    "(memory 0: no limit)",
                                                    text, why)};
  };
  if (std::ranges::count(text, ':') != 2) return refuse("expected three fields");
  const auto first = text.find(':');
  const auto second = text.find(':', first + 1);
  const auto cpus = parse_number(text.substr(first + 1, second - first - 1));
  if (!cpus) return refuse(cpus.error().message);
  const auto memory = parse_bytes(text.substr(second + 1));
  if (!memory) return refuse(memory.error().message);
  NodeSpec node{std::string(text.substr(0, first)), Cpus{*cpus}, *memory};
  if (const auto valid = validate_node(node); !valid) return refuse(valid.error().message);
  return node;
}

}  // namespace amp4ec
