// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/monitor/detail/foreign_groups.hpp>
#include <amp4ec/monitor/detail/foreign_kills.hpp>
#include <amp4ec/monitor/detail/watched_worker_state.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace amp4ec::detail {

using WatchedWorkers = std::map<std::string, std::shared_ptr<WatchedWorkerState>>;  ///< By name.

/// What a MachineWatch knows of one node.
struct WatchedNodeState {
  ForeignNode group;
  WatchedWorkers workers;  ///< Processes.
  WatchedWorkers threads;
  WatchedWork sum;                            ///< Of all workers that it has had.
  std::map<std::string, ForeignKills> kills;  ///< By worker process.

  [[nodiscard]] Result<cgroup::Usage> usage(const std::string& path) const {
    auto usage = open(group.trees, path).read();
    if (!usage || group.thread_trees.empty()) return usage;
    const auto of_threads = open(group.thread_trees, group.thread_group).read();
    if (!of_threads) return of_threads.error();
    usage->cpu_time += of_threads->cpu_time;
    usage->throttled_time += of_threads->throttled_time;
    usage->nr_throttled += of_threads->nr_throttled;
    usage->cpu_known = usage->cpu_known || of_threads->cpu_known;
    return usage;
  }

  /// v1 counts kills in the very group of the process only, hence in the workers' groups. Of those that came and went
  /// between two looks nothing is known.
  [[nodiscard]] Result<cgroup::UsageDetails> details(const std::string& path) {
    auto details = open(group.trees, path).read_details();
    if (!details) return details;
    std::uint64_t of_workers = 0;
    for (const auto& [name, worker] : workers) kills[name].see(group.trees, path + "/" + name);
    for (const auto& [name, seen] : kills) grow(of_workers, seen.count(), 0);
    details->oom_kills = std::max(details->oom_kills, of_workers);
    return details;
  }

  [[nodiscard]] Result<NetworkTraffic> traffic() const {
    for (const auto* each : {&workers, &threads}) {
      for (const auto& [name, worker] : *each) {
        if (worker->network) return (*worker->network)();
      }
    }
    return Error{Errc::NotSupported, "no worker whose network could be looked at"};
  }

  // Opened for each reading: a group that is just being made comes into one tree after the other, and one of the same
  // name may take its place between two looks.
  static cgroup::detail::Counters open(const std::vector<cgroup::Tree>& trees, const std::string& path) {
    cgroup::detail::Counters counters;
    for (const auto& tree : trees) (void)counters.open(tree, path);
    return counters;
  }
};

}  // namespace amp4ec::detail
