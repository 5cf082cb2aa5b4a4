// SPDX-License-Identifier: Apache-2.0
#include "run_report.hpp"

#include "planning.hpp"
#include "statistics.hpp"
#include "table.hpp"
#include "text.hpp"

#include <amp4ec/plan/plan_json.hpp>

#include <fmt/format.h>
#include <boost/json/array.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

struct Latency {
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
};

std::vector<double> latencies_of(const LoadResult& load) {
  std::vector<double> latencies;
  for (const AnsweredRequest& request : load.answered) latencies.push_back(request.latency_ms);
  return latencies;
}

Latency latency_of(const LoadResult& load) {
  const auto values = latencies_of(load);
  if (values.empty()) return {};
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / static_cast<double>(values.size()), quantile(values, 0.5), quantile(values, 0.9),
          quantile(values, 0.99)};
}

double quota_sum(const RunReport& report) {
  return std::accumulate(report.nodes.begin(), report.nodes.end(), 0.0,
                         [](double sum, const NodeSpec& node) { return sum + node.cpus.count; });
}

bool oversubscribed(const RunReport& report) {
  return quota_sum(report) > static_cast<double>(std::max(1U, std::thread::hardware_concurrency()));
}

double ideal_rps(const RunReport& report) {
  return quota_sum(report) * spread_of(report.measured.single_rps).median;
}

double per_request_us(double seconds, const StageUse& use) {
  return use.requests > 0 ? 1e6 * seconds / static_cast<double>(use.requests) : 0;
}

double busy_share(const StageUse& use, const RunReport& report) {
  const double seconds = report.measured.load.seconds;
  return seconds > 0 ? use.busy_s / seconds : 0;
}

/// CPU time over what the quota allows.
double cpu_share(const StageUse& use, const RunReport& report) {
  const double allowed = use.latest.quota.count * report.measured.load.seconds;
  return allowed > 0 ? use.cpu_s / allowed : 0;
}

std::size_t restarts(const RunReport& report) {
  std::size_t sum = 0;
  for (const StageUse& use : report.measured.stages) sum += use.latest.restarts;
  return sum;
}

json::object spread_json(const std::vector<double>& values) {
  const Spread spread = spread_of(values);
  return {{"min", spread.min}, {"max", spread.max}};
}

json::array stages_json(const RunReport& report) {
  json::array stages;
  for (const StageUse& use : report.measured.stages) {
    stages.push_back(json::object{{"node", use.latest.node},
                                  {"first_layer", use.latest.first_layer},
                                  {"last_layer", use.latest.last_layer},
                                  {"requests", use.requests},
                                  {"busy", busy_share(use, report)},
                                  {"service_us", per_request_us(use.busy_s, use)},
                                  {"hop_us", per_request_us(use.hop_s, use)},
                                  {"cpu_share", cpu_share(use, report)},
                                  {"rss_bytes", use.latest.rss.count},
                                  {"memory_peak_bytes", use.latest.memory_peak.count},
                                  {"memory_limit_bytes", use.latest.memory_limit.count},
                                  {"throttled_us", use.throttled_us}});
  }
  return stages;
}

json::array timeline_json(const LoadResult& load) {
  json::array timeline;
  auto request = load.answered.begin();
  for (std::size_t second = 0; static_cast<double>(second) < load.seconds; ++second) {
    const auto from = static_cast<double>(second);
    std::vector<double> latencies;
    for (; request != load.answered.end() && request->at_s < from + 1; ++request)
      latencies.push_back(request->latency_ms);
    const double length = std::min(1.0, load.seconds - from);  // the last second may be cut short
    timeline.push_back(json::object{{"second", second},
                                    {"throughput_rps", static_cast<double>(latencies.size()) / length},
                                    {"p99_ms", latencies.empty() ? json::value(nullptr) : quantile(latencies, 0.99)}});
  }
  return timeline;
}

json::array events_json(const RunReport& report) {
  json::array events;
  for (const Event& event : report.measured.events) {
    events.push_back(json::object{{"second", event.second}, {"what", event.what}});
  }
  return events;
}

/// What the machine can hold, by name.
std::vector<std::pair<std::string_view, bool>> capabilities_of(const RunReport& report) {
  const Capabilities& can = report.capabilities;
  return {{"cpu_limits", can.cpu_limits},     {"memory_limits", can.memory_limits},
          {"cpusets", can.cpusets},           {"pid_limits", can.pid_limits},
          {"freezing", can.freezing},         {"thread_groups", can.thread_groups},
          {"cpu_affinity", can.cpu_affinity}, {"memory_rlimits", can.memory_rlimits}};
}

json::object capabilities_json(const RunReport& report) {
  json::object object{{"cgroups", report.capabilities.cgroups}};
  for (const auto& [name, can] : capabilities_of(report)) object[name] = can;
  return object;
}

std::string capabilities_text(const RunReport& report) {
  std::string text = fmt::format("cgroups {}:", report.capabilities.cgroups);
  for (const auto& [name, can] : capabilities_of(report)) {
    if (can) text += fmt::format(" {}", name);
  }
  return text + "\n";
}

int threads_of(const NodeSpec& node) {
  return static_cast<int>(std::max(1.0, std::floor(node.cpus.count)));
}

json::array baseline_json(const RunReport& report) {
  json::array rows;
  for (std::size_t i = 0; i < report.measured.alone.size(); ++i) {
    const AloneRates& rates = report.measured.alone[i];
    const NodeSpec& place = report.replica_places[i];
    rows.push_back(json::object{{"node", place.name},
                                {"cpus", place.cpus.count},
                                {"threads", threads_of(place)},
                                {"throughput_rps", spread_of(rates.throughput_rps).median},
                                {"p50_ms", spread_of(rates.p50_ms).median},
                                {"p99_ms", spread_of(rates.p99_ms).median}});
  }
  return rows;
}

std::string stages_text(const RunReport& report) {
  Table table({"node", "layers", "CPU quota", "CPU used", "memory peak / limit", "requests", "busy", "service", "hop"});
  for (const StageUse& use : report.measured.stages) {
    const StageReport& stage = use.latest;
    const std::string limit = stage.memory_limit.count > 0 ? format_bytes(stage.memory_limit) : "none";
    table.add({stage.node, fmt::format("{}-{}", stage.first_layer, stage.last_layer),
               fmt::format("{:.2f}", stage.quota.count), use.cpu_s > 0 ? format_share(cpu_share(use, report)) : "-",
               fmt::format("{} / {}", format_bytes(stage.memory_peak), limit), std::to_string(use.requests),
               format_share(busy_share(use, report)), format_us(per_request_us(use.busy_s, use)),
               format_us(per_request_us(use.hop_s, use))});
  }
  return table.text();
}

std::string comparison_text(const RunReport& report) {
  const Measurement& measured = report.measured;
  const double limit = spread_of(measured.limit_rps).median;
  const Latency latency = latency_of(measured.load);
  Table table({"who", "CPUs", "requests/s", "of limit", "p50 ms", "p99 ms"});
  const auto add = [&](const std::string& who, double cpus, double rps, const std::string& p50,
                       const std::string& p99) {
    table.add({who, fmt::format("{:.2f}", cpus), fmt::format("{:.1f}", rps),
               limit > 0 ? format_share(rps / limit) : "-", p50, p99});
  };
  const auto number = [](double value) { return fmt::format("{:.1f}", value); };
  add("this plan", quota_sum(report), spread_of(measured.throughput_rps).median, number(latency.p50),
      number(latency.p99));
  add("limit: bare replicas, all at once", quota_sum(report), limit, "-", "-");
  for (std::size_t i = 0; i < measured.alone.size(); ++i) {
    const AloneRates& rates = measured.alone[i];
    const NodeSpec& place = report.replica_places[i];
    add("bare, alone: " + place.name, place.cpus.count, spread_of(rates.throughput_rps).median,
        number(spread_of(rates.p50_ms).median), number(spread_of(rates.p99_ms).median));
  }
  return table.text();
}

std::string equality_text(const RunReport& report) {
  const LoadResult& load = report.measured.load;
  if (!report.compared) return "answers not compared: the model draws random numbers, or keeps state\n";
  if (load.answered.empty()) return "no answer came\n";
  if (report.equal()) {
    return fmt::format("every answer equal ({} answers, worst relative error {:.1e})\n", load.answered.size(),
                       load.worst_error);
  }
  return fmt::format("{} of {} answers are NOT equal, worst relative error {:.1e}\n", load.unequal,
                     load.answered.size(), load.worst_error);
}

std::string summary_text(const RunReport& report) {
  const Measurement& measured = report.measured;
  const Spread efficiency = spread_of(measured.efficiency);
  std::string text =
      fmt::format("{} requests, {} at once, in {} rounds: efficiency {} of the limit (rounds: {} to {})\n",
                  measured.load.submitted, report.in_flight, measured.throughput_rps.size(),
                  format_share(efficiency.median), format_share(efficiency.min), format_share(efficiency.max));
  if (oversubscribed(report))
    text += "the quotas add up to more CPUs than this machine has: the nodes hold one another back\n";
  text += capabilities_text(report);
  text += equality_text(report);
  if (measured.load.lost > 0) text += fmt::format("{} requests LOST\n", measured.load.lost);
  if (restarts(report) > 0) text += fmt::format("{} workers were replaced\n", restarts(report));
  for (const Event& event : measured.events) text += fmt::format("event at {:.1f} s: {}\n", event.second, event.what);
  return text;
}

}  // namespace

json::object report_json(const RunReport& report) {
  const Measurement& measured = report.measured;
  const LoadResult& load = measured.load;
  const Latency latency = latency_of(load);
  json::object object = plan_to_json(report.plan);
  object["mode"] = to_string(report.form);
  object["policy"] = report.policy;
  object["workers"] = to_string(report.workers);
  object["in_flight"] = report.in_flight;
  object["requests"] = load.submitted;
  object["seconds"] = load.seconds;
  object["rounds"] = measured.throughput_rps.size();
  object["throughput_rps"] = spread_of(measured.throughput_rps).median;
  object["latency_ms"] = {{"mean", latency.mean}, {"p50", latency.p50}, {"p90", latency.p90}, {"p99", latency.p99}};
  object["limit_rps"] = spread_of(measured.limit_rps).median;
  object["ideal_rps"] = ideal_rps(report);
  object["efficiency"] = spread_of(measured.efficiency).median;
  object["spread"] = {{"throughput_rps", spread_json(measured.throughput_rps)},
                      {"limit_rps", spread_json(measured.limit_rps)},
                      {"efficiency", spread_json(measured.efficiency)}};
  object["oversubscribed"] = oversubscribed(report);
  object["equal"] = report.compared ? json::value(report.equal()) : json::value(nullptr);
  object["max_relative_error"] = load.worst_error;
  object["stages"] = stages_json(report);
  object["lost"] = load.lost;
  object["duplicated"] = load.duplicated;
  object["restarts"] = restarts(report);
  object["moves"] = 0;                             // Plans do not adapt yet.
  object["cache"] = {{"hits", 0}, {"misses", 0}};  // There is none yet.
  object["timeline"] = timeline_json(load);
  object["events"] = events_json(report);
  object["capabilities"] = capabilities_json(report);
  object["baseline"] = baseline_json(report);
  return object;
}

std::string report_text(const RunReport& report) {
  return plan_text(report.plan, report.nodes) + "\n" + stages_text(report) + "\n" + comparison_text(report) + "\n" +
         summary_text(report);
}

}  // namespace amp4ec::cli
