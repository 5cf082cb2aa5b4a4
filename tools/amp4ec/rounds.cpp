// SPDX-License-Identifier: Apache-2.0
#include "rounds.hpp"

#include "interrupt.hpp"
#include "progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace amp4ec::cli {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// How one round's time is shared out.
struct Schedule {
  std::size_t rounds = 5;
  Milliseconds load{};  // 0 where requests are counted
  Milliseconds limit{};
  Milliseconds single{};
};

Milliseconds at_least(double milliseconds, long least) {
  return Milliseconds(std::max(std::lround(milliseconds), least));
}

Schedule make_schedule(const RoundOptions& options) {
  constexpr double longest_round_s = 4;  // short rounds meet the same machine, and an interrupt waits for no more
  Schedule schedule;
  if (options.requests > 0) {
    schedule.rounds =
        std::min(std::clamp<std::size_t>(options.requests / (4 * options.in_flight), 3, 9), options.requests);
    return schedule;
  }
  schedule.rounds =
      std::max<std::size_t>(5, static_cast<std::size_t>(std::ceil(options.seconds / longest_round_s)) | 1U);
  const double round_ms = 1e3 * options.seconds / static_cast<double>(schedule.rounds);
  schedule.load = at_least(0.45 * round_ms, 20);
  schedule.limit = schedule.load;
  schedule.single = at_least(0.1 * round_ms, 20);
  return schedule;
}

class Rounds {
 public:
  Rounds(Session& session, BareReplicas& replicas, const References& references, const RoundOptions& options,
         EventLog& events, const Interrupt& interrupt)
      : session_(session),
        replicas_(replicas),
        references_(references),
        options_(options),
        events_(events),
        interrupt_(interrupt),
        schedule_(make_schedule(options)) {}

  Result<Measurement> run() {
    for (const StageReport& stage : session_.stages()) measured_.stages.push_back({stage});
    Progress progress("measuring");
    for (std::size_t round = 0; round < schedule_.rounds && !interrupt_; ++round) {
      const LoadResult load = run_load(round);
      measured_.throughput_rps.push_back(load.throughput_rps);
      if (load.lost > 0) break;
      if (const auto done = run_replicas(load); !done) return done.error();
      progress.update(round + 1, schedule_.rounds);
    }
    return std::move(measured_);
  }

 private:
  std::size_t requests_in(std::size_t round) const {
    const std::size_t rest = options_.requests % schedule_.rounds;
    return options_.requests / schedule_.rounds + (round < rest ? 1 : 0);
  }

  LoadResult run_load(std::size_t round) {
    const auto before = session_.stages();
    const auto start = std::chrono::steady_clock::now();
    LoadResult load =
        run_closed_loop(session_, references_, {options_.in_flight, schedule_.load, requests_in(round)}, interrupt_);
    add_stages(before, session_.stages());
    add_events(start, load.seconds);
    add_load(load);
    return load;
  }

  void add_stages(const std::vector<StageReport>& before, const std::vector<StageReport>& after) {
    for (std::size_t i = 0; i < after.size(); ++i) {
      StageUse& use = measured_.stages[i];
      const auto seconds = [](auto duration) { return std::chrono::duration<double>(duration).count(); };
      use.busy_s += seconds(after[i].busy - before[i].busy);
      use.hop_s += seconds(after[i].hop - before[i].hop);
      use.cpu_s += seconds(after[i].cpu_time - before[i].cpu_time);
      use.throttled_us += 1e6 * seconds(after[i].throttled_time - before[i].throttled_time);
      use.requests += after[i].requests - before[i].requests;
      use.latest = after[i];
    }
  }

  /// What happens while there is no load counts to the moment when the load begins again.
  void add_events(std::chrono::steady_clock::time_point start, double seconds) {
    for (SessionEvent& event : events_.take()) {
      const double second = std::chrono::duration<double>(event.time - start).count();
      measured_.events.push_back({measured_.load.seconds + std::clamp(second, 0.0, seconds),
                                  fmt::format("{} on '{}': {}", to_string(event.kind), event.node, event.what)});
    }
  }

  void add_event(std::string what) { measured_.events.push_back({measured_.load.seconds, std::move(what)}); }

  void add_load(const LoadResult& load) {
    LoadResult& total = measured_.load;
    for (const AnsweredRequest& request : load.answered) {
      total.answered.push_back({total.seconds + request.at_s, request.latency_ms});
    }
    total.seconds += load.seconds;
    total.submitted += load.submitted;
    total.lost += load.lost;
    total.duplicated += load.duplicated;
    total.unequal += load.unequal;
    total.worst_error = std::max(total.worst_error, load.worst_error);
    if (!total.first_error && load.first_error) {
      total.first_error = load.first_error;
      add_event(load.first_error->what());
    }
  }

  Result<void> run_replicas(const LoadResult& load) {
    const bool counted = options_.requests > 0;
    const auto limit_time = counted ? std::min(at_least(1e3 * load.seconds, 100), Milliseconds(2000)) : schedule_.limit;
    const auto single_time = counted ? Milliseconds(100) : schedule_.single;
    const auto limit = replicas_.together(limit_time);
    if (!limit) return limit.error();
    measured_.limit_rps.push_back(*limit);
    measured_.efficiency.push_back(*limit > 0 ? load.throughput_rps / *limit : 0);
    const auto single = replicas_.alone(replicas_.single(), single_time);
    if (!single) return single.error();
    measured_.single_rps.push_back(single->throughput_rps);
    if (!options_.each_alone) return {};
    return run_each_alone(std::max(limit_time / 2, Milliseconds(20)));
  }

  Result<void> run_each_alone(Milliseconds duration) {
    measured_.alone.resize(replicas_.nodes().size());
    for (std::size_t i = 0; i < measured_.alone.size(); ++i) {
      if (interrupt_) return {};
      const auto rate = replicas_.alone(i, duration);
      if (!rate) return rate.error();
      measured_.alone[i].throughput_rps.push_back(rate->throughput_rps);
      measured_.alone[i].p50_ms.push_back(rate->p50_ms);
      measured_.alone[i].p99_ms.push_back(rate->p99_ms);
    }
    return {};
  }

  Session& session_;
  BareReplicas& replicas_;
  const References& references_;
  const RoundOptions options_;
  EventLog& events_;
  const Interrupt& interrupt_;
  const Schedule schedule_;
  Measurement measured_;
};

}  // namespace

Result<Measurement> measure_rounds(Session& session, BareReplicas& replicas, const References& references,
                                   const RoundOptions& options, EventLog& events, const Interrupt& interrupt) {
  return Rounds(session, replicas, references, options, events, interrupt).run();
}

}  // namespace amp4ec::cli
