// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/ipc/service_histogram.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/foreign_groups.hpp>
#include <amp4ec/monitor/detail/foreign_threads.hpp>
#include <amp4ec/monitor/detail/watched_node_state.hpp>
#include <amp4ec/monitor/detail/watched_worker_state.hpp>
#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/network_reader.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
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
  /// Of its group, e.g. "worker-3"; of a worker thread "thread-<id>", or "threads" for those of a node whose counters
  /// cannot be told.
  std::string name;
  pid_t pid = 0;     ///< 0: its process has ended, or lives in another pid namespace.
  pid_t thread = 0;  ///< Of a worker thread: its id, if its counters can be told. 0 for a process.
  Sample sample;     ///< Of the worker alone; limits sit on its node, and what a thread uses is counted there only.
  double requests_per_second = 0;
  std::optional<ipc::WorkerStats> stats;  ///< Where this user may look into the process.
};

/// A node of some host. Its sample adds up the workers whose counters can be read.
struct WatchedNode {
  cgroup::HostIdentity host;
  std::string runtime;  ///< Of that host: "" for its first, else "runtime-N".
  Sample sample;
  double requests_per_second = 0;
  std::vector<WatchedWorker> workers;  ///< By name, the processes first.
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
    for (const auto& [path, node] : nodes_) refresh(path, *node, see_threads(*node));
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
      for (const auto* each : {&node->workers, &node->threads}) {
        for (const auto& [name, worker] : *each) {
          WatchedWorker shown_worker{name, worker->pid, worker->thread, {}, 0, worker->stats};
          if (!read_sample(path + "/" + name, name, shown_worker.sample, shown_worker.requests_per_second)) continue;
          shown.workers.push_back(std::move(shown_worker));
        }
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
  using Node = detail::WatchedNodeState;
  using Worker = detail::WatchedWorkerState;
  using Threads = std::map<std::string, detail::SeenThread>;

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
      : hierarchy_(std::move(hierarchy)), stall_after_(stall_after) {
    // A look reads everything, whatever its tier: walking all groups costs more. The timer is not used.
    (void)monitor_->start(Monitor::shortest_interval, Monitor::shortest_interval);
    monitor_->stop();
  }

  /// Its limits, and what its workers do.
  void refresh(const std::string& path, Node& node, Threads seen) {
    const auto limits = node.group.trees.empty() ? detail::read_limits(node.group.thread_trees, node.group.thread_group)
                                                 : detail::read_limits(node.group.trees, path);
    (void)monitor_->set_limits(path, limits.cpus, limits.memory);
    forget_moment(node.sum.reading);
    for (const auto& [name, worker] : node.workers) {
      forget_moment(worker->sum.reading);
      worker->look(detail::first_process(node.group.trees, path + "/" + name), node.sum);
    }
    for (const auto& [name, worker] : node.threads) {
      forget_moment(worker->sum.reading);
      const auto found = seen.find(name);
      worker->look(found == seen.end() ? nullptr : &found->second, node.sum);
    }
  }

  static Threads see_threads(const Node& node) {
    return detail::see_threads(node.group.thread_trees, node.group.thread_group);
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
    auto seen = see_threads(*node);
    drop_gone(path, node->workers, node->group.workers, [&](Worker& worker) { worker.look(pid_t{0}, node->sum); });
    drop_gone(path, node->threads, seen, [&](Worker& worker) { worker.look(nullptr, node->sum); });
    std::vector<std::string> processes;
    std::vector<std::string> threads;
    for (const auto& name : node->group.workers) {
      if (node->workers.emplace(name, std::make_shared<Worker>()).second) processes.push_back(name);
    }
    for (const auto& entry : seen) {
      if (node->threads.emplace(entry.first, std::make_shared<Worker>()).second) threads.push_back(entry.first);
    }
    refresh(path, *node, std::move(seen));
    for (const auto& name : processes) {
      const auto worker_path = path + "/" + name;
      auto source = source_of(worker_path, node->workers.at(name));
      source.read_usage = [node, worker_path] { return Node::open(node->group.trees, worker_path).read(); };
      source.read_details = [node, worker_path] { return Node::open(node->group.trees, worker_path).read_details(); };
      add_source(std::move(source));
    }
    // The kernel counts the group's threads together, and those are more than the workers.
    for (const auto& name : threads) add_source(source_of(path + "/" + name, node->threads.at(name)));
    if (!is_new) return;
    NodeSource source;
    source.node = path;
    source.read_usage = [node, path] { return node->usage(path); };
    source.read_details = [node, path] { return node->details(path); };
    source.read_workers = [node]() -> Result<WorkerReading> { return node->sum.reading; };
    source.read_service_times = [node]() -> Result<ipc::ServiceHistogram> { return node->sum.times; };
    source.read_network = [node] { return node->traffic(); };
    add_source(std::move(source));
    refresh(path, *node, see_threads(*node));
  }

  /// Forgets the workers that are not among `present`, after a last look at what they did.
  template <class Present, class LastLook>
  void drop_gone(const std::string& path, detail::WatchedWorkers& workers, const Present& present, LastLook last_look) {
    std::erase_if(workers, [&](const auto& entry) {
      if (present.contains(entry.first)) return false;
      remove_source(path + "/" + entry.first);
      last_look(*entry.second);
      return true;
    });
  }

  void forget(const std::string& path, const Node& node) {
    for (const auto* each : {&node.workers, &node.threads}) {
      for (const auto& [name, worker] : *each) remove_source(path + "/" + name);
    }
    remove_source(path);
  }

  /// Of a worker, as far as its counters and its process tell.
  static NodeSource source_of(const std::string& path, const std::shared_ptr<const Worker>& worker) {
    NodeSource source;
    source.node = path;
    source.read_workers = [worker]() -> Result<WorkerReading> { return worker->sum.reading; };
    source.read_service_times = [worker]() -> Result<ipc::ServiceHistogram> { return worker->sum.times; };
    source.read_network = [worker]() -> Result<NetworkTraffic> {
      if (worker->network) return (*worker->network)();
      return Error{Errc::NotSupported, "the worker's network cannot be looked at"};
    };
    return source;
  }

  void add_source(NodeSource source) {
    const auto path = source.node;
    source.stall_after = stall_after_;
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
