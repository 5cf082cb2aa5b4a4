// SPDX-License-Identifier: Apache-2.0
// What a session tells of its requests and its stages.
#include "runtime/session_state.hpp"

#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/trace_writer.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace amp4ec::detail {

/// Not under the mutex: a trace may wait for its disk.
void SessionState::trace(const Done& done) const noexcept try {
  if (!parts_.options.trace) return;
  TraceWriter& trace = *parts_.options.trace;
  const std::uint64_t request = trace_ids_ + done.request;
  const auto now = Clock::now();
  const auto ns_of = [](Clock::time_point time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); };
  (void)trace.add(
      TraceRequest{request, done.entry.submitted, now,
                   done.result ? std::string() : done.result.error().what()});  // What is lost, `dropped` counts.
  if (!done.entry.route) return;
  const Route& route = parts_.routes[*done.entry.route];
  std::vector<std::shared_ptr<StageWorker>> workers;
  {
    const std::lock_guard lock(mutex_);
    if (parts_.stages.empty()) return;  // Closed.
    for (const std::uint8_t id : route) workers.push_back(parts_.stages[id].worker);
  }
  for (std::size_t stage = 0; stage < route.size(); ++stage) {
    const StageWorker& worker = *workers[stage];
    const auto execution = worker.counters().execution_of(done.request);
    // The worker's word: what does not lie within the request's stay is not believed.
    if (!execution || execution->begin_ns < ns_of(done.entry.submitted) || execution->end_ns < execution->begin_ns ||
        execution->end_ns > ns_of(now))
      continue;
    const auto time = [](std::uint64_t ns) { return Clock::time_point(std::chrono::nanoseconds(ns)); };
    (void)trace.add(TraceStage{worker.node()->name,
                               fmt::format("worker {}.{}", trace_ids_ >> session_bits, route[stage]),
                               fmt::format("layers {}-{}", worker.first_layer(), worker.last_layer()), request,
                               static_cast<std::uint32_t>(stage), static_cast<std::uint32_t>(route.size()),
                               time(execution->begin_ns), time(execution->end_ns)});
  }
} catch (...) {
  // No memory for an event: the request's completion matters more.
}

namespace {

/// What a worker has done, added to what was done in its place before. Its counters are its own word, hence `grow`.
StageReport add_report(StageReport report, const StageWorker& worker) {
  if (const auto stats = worker.counters().snapshot()) {
    grow(report.requests, stats->requests, 0);
    grow(report.busy, stats->busy_ns, 0);
    grow(report.hop, stats->hop_ns, 0);
  }
  if (!worker.group()) return report;
  if (const auto usage = worker.group()->read()) report.cpu_time += usage->cpu_time;
  if (const auto details = worker.group()->read_details()) {
    report.memory_peak = std::max(report.memory_peak, details->memory_peak);
  }
  return report;
}

}  // namespace

StageReport SessionState::with_past(std::size_t stage) const {
  return add_report(past_[stage], *parts_.stages[stage].worker);
}

std::vector<StageReport> SessionState::stages() const {
  std::vector<StageReport> reports;
  std::vector<std::shared_ptr<StageWorker>> workers;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return reports;
    for (std::size_t stage = 0; stage < parts_.stages.size(); ++stage) {
      workers.push_back(parts_.stages[stage].worker);
      reports.push_back(past_[stage]);
      reports.back().alive = states_[stage].alive;
      reports.back().has_standby = standbys_[stage] && !standbys_[stage]->worker().has_ended();
    }
  }
  // Files are read without the mutex, which requests need.
  for (std::size_t stage = 0; stage < workers.size(); ++stage) {
    StageWorker& worker = *workers[stage];
    const NodeSpec node = worker.node()->spec();
    StageReport made = add_report(std::move(reports[stage]), worker);
    made.node = node.name;
    made.first_layer = worker.first_layer();
    made.last_layer = worker.last_layer();
    made.pid = worker.worker().pid();
    made.quota = node.cpus;
    made.quota_binds = worker.quota_binds();
    if (worker.group() && parts_.runtime->capabilities.memory_limits) made.memory_limit = node.memory;
    const ResidentMemory resident = resident_memory(made.pid);
    made.rss = resident.now;
    if (made.memory_peak.count == 0) made.memory_peak = resident.peak;
    if (const auto usage = worker.node()->usage()) made.throttled_time = usage->throttled_time;
    reports[stage] = std::move(made);
  }
  return reports;
}

}  // namespace amp4ec::detail
