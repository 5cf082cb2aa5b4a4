// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/foreign_counters.hpp>
#include <amp4ec/monitor/detail/foreign_groups.hpp>
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
  /// `root`: where /proc/self and the mount points are looked for, see `Hierarchy::detect`. @error as that.
  static Result<MachineWatch> create(const std::string& root = "/") {
    auto hierarchy = cgroup::Hierarchy::detect(root);
    if (!hierarchy) return hierarchy.error();
    return MachineWatch(std::move(*hierarchy));
  }

  [[nodiscard]] const cgroup::Hierarchy& hierarchy() const noexcept { return hierarchy_; }

  /// Samples what is known, forgets what has gone, and finds what is new: that has a sample from the next look on,
  /// since rates need two. Walks all groups of the machine.
  void look() {
    for (const auto& [path, node] : nodes_) refresh(path, node);
    monitor_->sample();
    for (auto& [path, rate] : rates_) {
      if (const auto sample = monitor_->snapshot(path)) rate.update(*sample);
    }
    auto found = detail::ForeignGroupScan(hierarchy_).run();
    std::erase_if(nodes_, [&](const auto& entry) {
      if (found.contains(entry.first)) return false;
      forget(entry.first, entry.second);
      return true;
    });
    for (auto& [path, group] : found) update(path, std::move(group));
  }

  /// As of the last look, by host, runtime and name.
  [[nodiscard]] std::vector<WatchedNode> nodes() const {
    std::vector<WatchedNode> all;
    for (const auto& [path, node] : nodes_) {
      WatchedNode shown{node.group.host, node.group.runtime, {}, 0, {}};
      if (!read_sample(path, node.group.name, shown.sample, shown.requests_per_second)) continue;
      for (const auto& [name, worker] : node.crew->workers) {
        WatchedWorker shown_worker{name, worker->pid, {}, 0, worker->stats()};
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
    std::optional<ipc::WorkerCountersView> counters;  ///< Readable for as long as we keep them, its worker gone or not.

    [[nodiscard]] std::optional<ipc::WorkerStats> stats() const {
      if (!counters) return std::nullopt;
      const auto read = counters->snapshot();
      if (!read) return std::nullopt;
      return *read;
    }
    void add_to(WorkerReading& sum) const {
      sum.alive = sum.alive || pid != 0;
      const auto read = stats();
      if (!read) return;
      if (pid != 0) sum.queue_depth += read->queued;
      sum.ring_received.count += read->received_bytes;
      sum.ring_sent.count += read->sent_bytes;
      sum.requests_done += read->requests;
      sum.busy += std::chrono::nanoseconds(read->busy_ns);
    }
  };
  /// The workers of a node, which its reader in the monitor adds up.
  struct Crew {
    std::map<std::string, std::shared_ptr<Worker>> workers;
    WorkerReading gone;  ///< What workers did that have left: a sum must not shrink.

    [[nodiscard]] WorkerReading read() const {
      WorkerReading sum = gone;
      for (const auto& [name, worker] : workers) worker->add_to(sum);
      return sum;
    }
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
  struct Node {
    detail::ForeignNode group;
    std::shared_ptr<Crew> crew = std::make_shared<Crew>();
  };

  explicit MachineWatch(cgroup::Hierarchy hierarchy) : hierarchy_(std::move(hierarchy)) {}

  /// Its limits, and the processes of its workers.
  void refresh(const std::string& path, const Node& node) {
    const auto limits = detail::read_limits(node.group.trees, path);
    (void)monitor_->set_limits(path, limits.cpus, limits.memory);
    for (const auto& [name, worker] : node.crew->workers) {
      const auto pid = detail::first_process(node.group.trees, path + "/" + name);
      if (pid != 0 && pid != worker->pid) worker->counters.reset();
      worker->pid = pid;
      if (pid != 0 && !worker->counters) worker->counters = detail::find_counters(pid);
    }
  }

  void update(const std::string& path, detail::ForeignNode group) {
    const bool is_new = !nodes_.contains(path);
    Node& node = nodes_[path];
    node.group = std::move(group);
    Crew& crew = *node.crew;
    std::erase_if(crew.workers, [&](const auto& entry) {
      if (node.group.workers.contains(entry.first)) return false;
      remove_source(path + "/" + entry.first);
      entry.second->pid = 0;
      entry.second->add_to(crew.gone);
      return true;
    });
    std::vector<std::string> added;
    for (const auto& name : node.group.workers) {
      if (crew.workers.emplace(name, std::make_shared<Worker>()).second) added.push_back(name);
    }
    refresh(path, node);
    for (const auto& name : added) {
      add_source(path + "/" + name, node.group.trees, [worker = crew.workers.at(name)]() -> Result<WorkerReading> {
        WorkerReading reading;
        worker->add_to(reading);
        return reading;
      });
    }
    if (!is_new) return;
    add_source(path, node.group.trees, [kept = node.crew]() -> Result<WorkerReading> { return kept->read(); });
    refresh(path, node);
  }

  void forget(const std::string& path, const Node& node) {
    for (const auto& [name, worker] : node.crew->workers) remove_source(path + "/" + name);
    remove_source(path);
  }

  void add_source(const std::string& path, const std::vector<cgroup::Tree>& trees,
                  std::function<Result<WorkerReading>()> read_workers) {
    const auto counters = std::make_shared<cgroup::detail::Counters>();
    for (const auto& tree : trees) (void)counters->open(tree, path);  // one that is gone by now goes with the next look
    NodeSource source;
    source.node = path;
    source.read_usage = [counters] { return counters->read(); };
    source.read_details = [counters] { return counters->read_details(); };
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
  std::map<std::string, Node> nodes_;  ///< By path.
  std::map<std::string, Rate> rates_;  ///< Of nodes and workers, by path.
  std::unique_ptr<boost::asio::io_context> context_ = std::make_unique<boost::asio::io_context>();
  std::unique_ptr<Monitor> monitor_ = std::make_unique<Monitor>(context_->get_executor(), 1);
};

}  // namespace amp4ec
