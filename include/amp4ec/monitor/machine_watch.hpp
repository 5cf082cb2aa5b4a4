// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/foreign_counters.hpp>
#include <amp4ec/monitor/detail/foreign_groups.hpp>
#include <amp4ec/monitor/detail/sign_of_life.hpp>
#include <amp4ec/monitor/detail/worker_sums.hpp>
#include <amp4ec/monitor/monitor.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace amp4ec {

/// A worker of some host.
struct WatchedWorker {
  std::string name;  ///< Of its group, e.g. "worker-3".
  pid_t pid = 0;     ///< 0: its process has ended, or lives in another pid namespace.
  Sample sample;     ///< Of the worker alone; limits sit on its node.
  double requests_per_second = 0;
  std::optional<ipc::WorkerStats> stats;  ///< Where this user may look into the process.
};

/// A node of some host. Its sample adds up the workers whose counters can be read.
struct WatchedNode {
  cgroup::HostIdentity host;
  std::string runtime;  ///< Of that host: "" for its first, else "runtime-N".
  Sample sample;
  double requests_per_second = 0;
  std::vector<WatchedWorker> workers;  ///< By name.
};

/// Watches the nodes of all amp4ec hosts of this machine from outside: through the groups that they made and, where
/// this user may look into them, the workers' counters. Changes nothing of theirs. A host that may make no groups is
/// not seen. One thread at a time.
class MachineWatch {
 public:
  /// `root`: where /proc/self and the mount points are looked for, see `Hierarchy::detect`. `stall_after`: as
  /// `NodeSource::stall_after`. @error as `Hierarchy::detect`.
  static Result<MachineWatch> create(const std::string& root = "/",
                                     std::chrono::nanoseconds stall_after = NodeSource{}.stall_after) {
    auto hierarchy = cgroup::Hierarchy::detect(root);
    if (!hierarchy) return hierarchy.error();
    return MachineWatch(std::move(*hierarchy), stall_after);
  }

  [[nodiscard]] const cgroup::Hierarchy& hierarchy() const noexcept { return hierarchy_; }

  /// Samples what is known, forgets what has gone, and finds what is new: that has a sample from the next look on,
  /// since rates need two. Walks all groups of the machine.
  void look() {
    for (const auto& [path, node] : nodes_) refresh(path, *node);
    monitor_->sample();
    for (auto& [path, rate] : rates_) {
      if (const auto sample = monitor_->snapshot(path)) rate.update(*sample);
    }
    auto found = detail::ForeignGroupScan(hierarchy_).run();
    std::erase_if(nodes_, [&](const auto& entry) {
      if (found.contains(entry.first)) return false;
      forget(entry.first, *entry.second);
      return true;
    });
    for (auto& [path, group] : found) update(path, std::move(group));
  }

  /// As of the last look, by host, runtime and name.
  [[nodiscard]] std::vector<WatchedNode> nodes() const {
    std::vector<WatchedNode> all;
    for (const auto& [path, node] : nodes_) {
      WatchedNode shown{node->group.host, node->group.runtime, {}, 0, {}};
      if (!read_sample(path, node->group.name, shown.sample, shown.requests_per_second)) continue;
      for (const auto& [name, worker] : node->workers) {
        WatchedWorker shown_worker{name, worker->pid, {}, 0, worker->stats};
        if (!read_sample(path + "/" + name, name, shown_worker.sample, shown_worker.requests_per_second)) continue;
        shown.workers.push_back(std::move(shown_worker));
      }
      all.push_back(std::move(shown));
    }
    const auto order = [](const WatchedNode& node) {
      return std::tie(node.host.pid, node.host.start_time, node.host.pid_namespace, node.runtime, node.sample.node);
    };
    std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
    return all;
  }

 private:
  struct Worker {
    pid_t pid = 0;
    pid_t counted = 0;                                ///< The process whose counters these are.
    std::optional<ipc::WorkerCountersView> counters;  ///< Readable for as long as we keep them, its worker gone or not.
    std::optional<ipc::WorkerStats> stats;            ///< Of the last look at which they made sense.
    WorkerReading sum;
    detail::SignOfLife life;

    /// Adds what the worker has done since the last call to its own sum and to that of its node. `process`: 0 when it
    /// has gone.
    void look(pid_t process, WorkerReading& of_node) {
      pid = process;
      if (pid != 0 && pid != counted) {
        counters.reset();
        stats.reset();
        life = {};
      }
      if (pid != 0 && !counters) counters = detail::find_counters(pid);
      if (pid != 0) counted = pid;
      const auto now = read_counters();
      if (now) life.see(*now, now->phase == ipc::WorkerPhase::busy || now->queued > 0);
      for (auto* each : {&sum, &of_node}) {
        each->alive = each->alive || pid != 0;
        if (now && pid != 0) {
          detail::grow(each->queue_depth, now->queued, 0);
          each->silence = std::max(each->silence, life.silence());
        }
        if (now) detail::add_work(*each, *now, stats.value_or(ipc::WorkerStats{}));
      }
      if (now) stats = now;
    }

   private:
    [[nodiscard]] std::optional<ipc::WorkerStats> read_counters() const {
      if (!counters) return std::nullopt;
      const auto read = counters->snapshot();
      if (!read) return std::nullopt;
      return *read;
    }
  };
  struct Node {
    detail::ForeignNode group;
    std::map<std::string, std::shared_ptr<Worker>> workers;  ///< By name.
    WorkerReading sum;                                       ///< Of all workers that it has had.
  };
  /// Requests over the last interval.
  struct Rate {
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
    std::uint64_t done = 0;
    double per_second = 0;

    void update(const Sample& sample) {
      const std::chrono::duration<double> interval = sample.time - since;
      if (interval.count() <= 0) return;
      per_second = static_cast<double>(sample.requests_done - std::min(done, sample.requests_done)) / interval.count();
      since = sample.time;
      done = sample.requests_done;
    }
  };

  MachineWatch(cgroup::Hierarchy hierarchy, std::chrono::nanoseconds stall_after)
      : hierarchy_(std::move(hierarchy)), stall_after_(stall_after) {}

  /// Its limits, and what its workers do.
  void refresh(const std::string& path, Node& node) {
    const auto limits = detail::read_limits(node.group.trees, path);
    (void)monitor_->set_limits(path, limits.cpus, limits.memory);
    forget_moment(node.sum);
    for (const auto& [name, worker] : node.workers) {
      forget_moment(worker->sum);
      worker->look(detail::first_process(node.group.trees, path + "/" + name), node.sum);
    }
  }

  /// What is no sum over time.
  static void forget_moment(WorkerReading& reading) {
    reading.alive = false;
    reading.queue_depth = 0;
    reading.silence = {};
  }

  void update(const std::string& path, detail::ForeignNode group) {
    auto& kept = nodes_[path];
    const bool is_new = kept == nullptr;
    if (is_new) kept = std::make_shared<Node>();
    const auto node = kept;
    node->group = std::move(group);
    std::erase_if(node->workers, [&](const auto& entry) {
      if (node->group.workers.contains(entry.first)) return false;
      remove_source(path + "/" + entry.first);
      entry.second->look(0, node->sum);
      return true;
    });
    std::vector<std::string> added;
    for (const auto& name : node->group.workers) {
      if (node->workers.emplace(name, std::make_shared<Worker>()).second) added.push_back(name);
    }
    refresh(path, *node);
    for (const auto& name : added) {
      add_source(path + "/" + name, node,
                 [worker = node->workers.at(name)]() -> Result<WorkerReading> { return worker->sum; });
    }
    if (!is_new) return;
    add_source(path, node, [node]() -> Result<WorkerReading> { return node->sum; });
    refresh(path, *node);
  }

  void forget(const std::string& path, const Node& node) {
    for (const auto& [name, worker] : node.workers) remove_source(path + "/" + name);
    remove_source(path);
  }

  /// `node`: the one that the group is of, or is a worker's of.
  void add_source(const std::string& path, const std::shared_ptr<const Node>& node,
                  std::function<Result<WorkerReading>()> read_workers) {
    // Opened for each reading: a group that is just being made comes into one tree after the other, and one of the same
    // name may take its place between two looks.
    const auto open = [node, path] {
      cgroup::detail::Counters counters;
      for (const auto& tree : node->group.trees) (void)counters.open(tree, path);
      return counters;
    };
    NodeSource source;
    source.node = path;
    source.stall_after = stall_after_;
    source.read_usage = [open] { return open().read(); };
    source.read_details = [open] { return open().read_details(); };
    source.read_workers = std::move(read_workers);
    if (monitor_->add_node(std::move(source))) rates_.emplace(path, Rate{});
  }

  void remove_source(const std::string& path) {
    monitor_->remove_node(path);
    rates_.erase(path);
  }

  /// False until there is a sample.
  [[nodiscard]] bool read_sample(const std::string& path, const std::string& name, Sample& sample, double& rate) const {
    auto last = monitor_->snapshot(path);
    if (!last) return false;
    sample = std::move(*last);
    sample.node = name;
    rate = rates_.at(path).per_second;
    return true;
  }

  cgroup::Hierarchy hierarchy_;
  std::chrono::nanoseconds stall_after_;
  std::map<std::string, std::shared_ptr<Node>> nodes_;  ///< By path. The readers in the monitor share them.
  std::map<std::string, Rate> rates_;                   ///< Of nodes and workers, by path.
  std::unique_ptr<boost::asio::io_context> context_ = std::make_unique<boost::asio::io_context>();
  std::unique_ptr<Monitor> monitor_ = std::make_unique<Monitor>(context_->get_executor(), 1);
};

}  // namespace amp4ec
