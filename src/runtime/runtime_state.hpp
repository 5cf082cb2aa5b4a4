// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/worker_process.hpp"

#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/node_workers.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace amp4ec::detail {

/// A node's limits in the kernel and what runs there.
class Node {
 public:
  explicit Node(NodeSpec spec) : name(spec.name), spec_(std::move(spec)) {}

  const std::string name;
  /// With the limits in force: they may change while workers run.
  [[nodiscard]] NodeSpec spec() const {
    const std::lock_guard lock(mutex_);
    return spec_;
  }
  void set_spec(NodeSpec spec) {
    const std::lock_guard lock(mutex_);
    spec_ = std::move(spec);
  }

  std::optional<cgroup::Group> group;  ///< Carries the limits; empty where the kernel does not let us hold the node.

  std::vector<unsigned> pinned_cpus;  ///< What holds its workers where no group does. Empty: not pinned.

  NodeWorkers workers;  ///< What the Monitor reads of those that run here.

 private:
  mutable std::mutex mutex_;
  NodeSpec spec_;
};

/// What a Runtime owns and its sessions share.
class RuntimeState {
 public:
  static Result<std::shared_ptr<RuntimeState>> create(std::vector<NodeSpec> nodes, RuntimeOptions options);
  ~RuntimeState();
  RuntimeState(const RuntimeState&) = delete;
  RuntimeState& operator=(const RuntimeState&) = delete;

  /// Null for a name that no node has.
  [[nodiscard]] Node* find_node(const std::string& name) noexcept;

  /// A worker process on a node, or without limits when `node` is null, with the threads its quota allows. The group,
  /// if any, goes into `group`: its owner must outlive the worker.
  Result<WorkerProcess> start_worker(Node* node, std::optional<cgroup::Group>& group);

  /// The nodes with the limits in force.
  [[nodiscard]] std::vector<NodeSpec> specs() const;
  /// See Runtime::set_limits.
  Result<void> set_limits(const std::string& node, Cpus cpus, Bytes memory);

  Capabilities capabilities;
  /// Shared with the thread that runs it: the last session may go, and the runtime with it, in one of its handlers.
  const std::shared_ptr<boost::asio::io_context> io = std::make_shared<boost::asio::io_context>();
  std::vector<std::unique_ptr<Node>> nodes;
  std::optional<Monitor> monitor;

 private:
  RuntimeState(std::vector<NodeSpec> nodes, RuntimeOptions options);
  Result<void> make_groups();
  [[nodiscard]] cgroup::Limits limits_of(const NodeSpec& spec) const;
  void hold_without_groups();

  RuntimeOptions options_;
  std::filesystem::path worker_executable_;
  cgroup::Hierarchy hierarchy_;
  std::shared_ptr<cgroup::Backend> backend_;
  std::string host_group_;
  std::atomic<unsigned> next_worker_ = 0;
  std::mutex limits_mutex_;  // One change of limits at a time.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace amp4ec::detail
