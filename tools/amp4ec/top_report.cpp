// SPDX-License-Identifier: Apache-2.0
#include "top_report.hpp"

#include "sample_json.hpp"
#include "screen.hpp"
#include "table.hpp"
#include "text.hpp"

#include <fmt/format.h>
#include <boost/json/array.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

std::string_view phase_name(ipc::WorkerPhase phase) {
  switch (phase) {
    case ipc::WorkerPhase::starting: return "starting";
    case ipc::WorkerPhase::ready: return "ready";
    case ipc::WorkerPhase::busy: return "busy";
    case ipc::WorkerPhase::stopping: return "stopping";
  }
  return "unknown";
}

/// The layers that it executes; nothing where its host does not tell, or nobody may look.
std::optional<ipc::LayerRange> layers_of(const WatchedWorker& worker) {
  return worker.stats ? worker.stats->layers : std::nullopt;
}

std::string layers_cell(const WatchedWorker& worker) {
  const auto layers = layers_of(worker);
  return layers ? fmt::format("{}-{}", layers->first, layers->last) : "-";
}

/// "ended" without a process, "unseen" without counters: it has none yet, or this user may not look into it.
std::string_view state_of(const WatchedWorker& worker) {
  if (worker.pid == 0) return "ended";
  if (worker.sample.state == NodeState::stalled) return to_string(NodeState::stalled);
  return worker.stats ? phase_name(worker.stats->phase) : "unseen";
}

std::string host_label(const WatchedNode& node) {
  return node.runtime.empty() ? fmt::format("{}", node.host.pid) : fmt::format("{} {}", node.host.pid, node.runtime);
}

/// "[####......]  0.40 of 1.00"
std::string gauge(double used, double limit, const std::string& used_text, const std::string& limit_text) {
  if (limit <= 0) return fmt::format("{:12} {:>9}", "", used_text);
  return fmt::format("[{}] {:>9} of {}", bar(used / limit), used_text, limit_text);
}

std::string cpu_cell(const Sample& sample) {
  if (!sample.cpu_known) return "-";
  return gauge(sample.cpu_used.count, sample.cpu_quota.count, fmt::format("{:.2f}", sample.cpu_used.count),
               fmt::format("{:.2f}", sample.cpu_quota.count));
}

std::string memory_cell(const Sample& sample) {
  if (!sample.memory_known) return "-";
  return gauge(static_cast<double>(sample.memory.count), static_cast<double>(sample.memory_limit.count),
               format_bytes(sample.memory), format_bytes(sample.memory_limit));
}

std::string service_cell(const Sample& sample) {
  return sample.mean_service_us > 0 ? format_us(sample.mean_service_us) : "-";
}

void add_node(Table& table, const WatchedNode& node) {
  const Sample& sample = node.sample;
  const bool counted =
      std::ranges::any_of(node.workers, [](const WatchedWorker& worker) { return worker.stats.has_value(); });
  table.add({host_label(node), plain(sample.node), "", std::string(to_string(sample.state)), cpu_cell(sample),
             memory_cell(sample), counted ? fmt::format("{:.1f}", node.requests_per_second) : "-", service_cell(sample),
             counted ? fmt::format("{}", sample.queue_depth) : "-",
             sample.resources_known ? format_share(sample.throttled) : "-", "", ""});
  for (const WatchedWorker& worker : node.workers) {
    const auto& stats = worker.stats;
    table.add({"", "  " + plain(worker.name), layers_cell(worker), std::string(state_of(worker)),
               cpu_cell(worker.sample), memory_cell(worker.sample),
               stats ? fmt::format("{:.1f}", worker.requests_per_second) : "-", service_cell(worker.sample),
               stats ? fmt::format("{}", stats->queued) : "-", "", stats ? fmt::format("{}", stats->errors) : "-",
               worker.pid == 0 ? "-" : fmt::format("{}", worker.pid)});
  }
}

json::object worker_json(const WatchedWorker& worker) {
  json::object object{
      {"worker", plain(worker.name)}, {"pid", nullptr}, {"thread", nullptr}, {"state", state_of(worker)}};
  if (worker.pid != 0) object["pid"] = worker.pid;
  if (worker.thread != 0) object["thread"] = worker.thread;
  const auto layers = layers_of(worker);
  object["first_layer"] = layers ? json::value(layers->first) : json::value(nullptr);
  object["last_layer"] = layers ? json::value(layers->last) : json::value(nullptr);
  // Sums since the worker started; those of the sample are since we look.
  object["requests"] = worker.stats ? json::value(worker.stats->requests) : json::value(nullptr);
  object["errors"] = worker.stats ? json::value(worker.stats->errors) : json::value(nullptr);
  object["requests_per_second"] = worker.requests_per_second;
  for (auto& field : sample_json(worker.sample)) object[field.key()] = field.value();
  return object;
}

json::object node_json(const WatchedNode& node) {
  json::array workers;
  for (const WatchedWorker& worker : node.workers) workers.push_back(worker_json(worker));
  json::object object{{"host", {{"pid", node.host.pid}, {"group", cgroup::host_group_name(node.host)}}},
                      {"runtime", node.runtime},
                      {"node", plain(node.sample.node)},
                      {"requests_per_second", node.requests_per_second}};
  for (auto& field : sample_json(node.sample)) object[field.key()] = field.value();
  object["workers"] = std::move(workers);
  return object;
}

}  // namespace

std::string bar(double share) {
  constexpr std::size_t width = 10;
  const double clamped = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0;
  const auto filled = static_cast<std::size_t>(std::lround(clamped * width));
  return std::string(filled, '#') + std::string(width - filled, '.');
}

std::string top_text(const std::vector<WatchedNode>& nodes) {
  if (nodes.empty()) return "no node of amp4ec on this machine\n";
  Table table({"host", "node", "layers", "state", "CPUs", "memory", "requests/s", "service", "queue", "throttled",
               "errors", "pid"});
  for (const WatchedNode& node : nodes) add_node(table, node);
  return table.text();
}

boost::json::object top_json(const std::vector<WatchedNode>& nodes) {
  const std::chrono::duration<double> time = std::chrono::system_clock::now().time_since_epoch();
  json::array all;
  for (const WatchedNode& node : nodes) all.push_back(node_json(node));
  return {{"time", time.count()}, {"nodes", std::move(all)}};
}

}  // namespace amp4ec::cli
