// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/text_table.hpp>
#include <amp4ec/plan/explanation.hpp>

#include <cmath>
#include <cstddef>
#include <string>

namespace amp4ec {

namespace detail {

inline std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.1f} %", 100 * share) : "-";
}

/// "+3.1 %"; "0 %" where nothing is gained.
inline std::string gain_text(double gain) {
  if (!std::isfinite(gain)) return "-";
  return std::abs(gain) < 5e-4 ? "0 %" : fmt::format("{:+.1f} %", 100 * gain);
}

inline std::string milliseconds(double ms) {
  return fmt::format("{:.2f} ms", ms);
}

/// What is left of a limit: "94.0 MiB", "-2.0 MiB" where it is passed, "-" without one.
inline std::string headroom_text(const NodeUse& node) {
  if (node.limit.count == 0) return "-";
  if (node.memory <= node.limit) return format_bytes(Bytes{node.limit.count - node.memory.count});
  return "-" + format_bytes(Bytes{node.memory.count - node.limit.count});
}

inline std::string use_text(const Explanation& explanation) {
  TextTable pipelines({"pipeline", "bottleneck", "busy a request", "requests/s", "one request"});
  for (std::size_t p = 0; p < explanation.pipelines.size(); ++p) {
    const PipelineUse& use = explanation.pipelines[p];
    pipelines.add({fmt::format("{}", p), use.bottleneck, milliseconds(use.time_us / 1e3),
                   fmt::format("{:.1f}", use.throughput_rps), milliseconds(use.latency_ms)});
  }
  TextTable nodes({"node", "busy", "slack", "memory", "limit", "headroom"});
  for (const NodeUse& node : explanation.nodes) {
    nodes.add({node.node, percent(node.busy), percent(node.slack()), format_bytes(node.memory),
               node.limit.count > 0 ? format_bytes(node.limit) : "-", headroom_text(node)});
  }
  std::string text = pipelines.text() + "\n" + nodes.text();
  if (explanation.links.empty()) return text;
  TextTable links({"link", "busy", "time a request"});
  for (const LinkUse& link : explanation.links) {
    links.add({fmt::format("{} -> {}", link.from, link.to), percent(link.busy), milliseconds(link.time_us / 1e3)});
  }
  return text + "\n" + links.text();
}

inline std::string alternatives_text(const Explanation& explanation) {
  TextTable table({"other plans", "requests/s", "one request", "largest stage", "against this", "layers"});
  for (const Alternative& alternative : explanation.alternatives) {
    const Worth& worth = alternative.worth;
    table.add({alternative.name, fmt::format("{:.1f}", worth.predicted.throughput_rps),
               milliseconds(worth.predicted.latency_ms), format_bytes(worth.largest_stage),
               alternative.same_plan ? "0 %" : gain_text(alternative.gain),
               alternative.same_plan ? "this plan" : layout(alternative.plan)});
  }
  return table.text();
}

inline std::string relaxations_text(const Explanation& explanation) {
  TextTable table({"the best plan with", "requests/s", "one request", "largest stage", "gain"});
  for (const Relaxation& relaxation : explanation.relaxations) {
    const Worth& worth = relaxation.worth;
    table.add({relaxation.change, fmt::format("{:.1f}", worth.predicted.throughput_rps),
               milliseconds(worth.predicted.latency_ms), format_bytes(worth.largest_stage),
               gain_text(relaxation.gain)});
  }
  return table.text();
}

inline std::string next_best_text(const Explanation& explanation) {
  const Alternative& next = explanation.alternatives[*explanation.next_best];
  const char* opening = next.gain > 1e-9 ? "better" : "next best";
  return fmt::format("{}: {} ({}), {}\n", opening, next.name, gain_text(next.gain), layout(next.plan));
}

}  // namespace detail

/// An explanation as people read it: aligned tables, then one line each for the limit that binds, the next best plan
/// and what splitting brings. Every line ends with a newline.
inline std::string to_text(const Explanation& explanation) {
  std::string text = detail::use_text(explanation);
  if (!explanation.alternatives.empty()) text += "\n" + detail::alternatives_text(explanation);
  if (!explanation.relaxations.empty()) text += "\n" + detail::relaxations_text(explanation);
  text += fmt::format("\nlimit: {}\n", explanation.limit.sentence);
  if (explanation.next_best) text += detail::next_best_text(explanation);
  if (!explanation.splitting.empty()) text += fmt::format("splitting: {}\n", explanation.splitting);
  return text;
}

}  // namespace amp4ec
