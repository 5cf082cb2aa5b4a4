// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/fork_server.hpp"
#include "runtime/segment_store.hpp"
#include "runtime/worker_process.hpp"

#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/thread_group.hpp>
#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/node_workers.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
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

  mutable std::mutex threads_mutex;                 ///< Guards the next.
  std::optional<cgroup::ThreadGroup> thread_group;  ///< Carries the quota of worker threads; from the first one on.

  std::vector<unsigned> pinned_cpus;  ///< What holds workers that no group does. Empty: they cannot be pinned.

  NodeWorkers workers;  ///< What the Monitor reads of those that run here.

  /// Of its processes and its threads. Zeros where no group counts them. @error CgroupFailed.
  [[nodiscard]] Result<cgroup::Usage> usage() const;

  /// With the kills of workers that are gone: v1 counts them in their own groups only. For a node with a group.
  /// @error CgroupFailed.
  [[nodiscard]] Result<cgroup::UsageDetails> details() const;
  void add_oom_kills(std::uint64_t kills) noexcept { oom_kills_ += kills; }

  /// Before a worker starts, and after it has ended. The kernel holds a node's processes and its threads apart, each to
  /// the whole quota: so that it binds, a node has workers of one kind at a time. @error NotSupported.
  Result<void> claim(WorkerKind kind);
  void release(WorkerKind kind) noexcept;

 private:
  mutable std::mutex mutex_;
  NodeSpec spec_;
  std::map<WorkerKind, std::size_t> running_;  ///< Guarded by `mutex_`.
  std::atomic<std::uint64_t> oom_kills_ = 0;
};

/// What a Runtime owns and its sessions share.
class RuntimeState : public std::enable_shared_from_this<RuntimeState> {
 public:
  /// For a worker on a node; null: without limits.
  static unsigned threads_on(const Node* node);

  static Result<std::shared_ptr<RuntimeState>> create(std::vector<NodeSpec> nodes, RuntimeOptions options);
  ~RuntimeState();
  RuntimeState(const RuntimeState&) = delete;
  RuntimeState& operator=(const RuntimeState&) = delete;

  /// Null for a name that no node has.
  [[nodiscard]] Node* find_node(const std::string& name) noexcept;

  /// A worker on a node, or without limits when `node` is null, with the threads its quota allows.
  struct Started {
    std::optional<cgroup::Group> group;  ///< Of a process, if any: outlives the worker.
    std::unique_ptr<Worker> worker;
    bool quota_binds = false;
  };
  Result<Started> start_worker(WorkerKind kind, Node* node);

  /// Where workers with so many threads come from. It lives as long as the runtime.
  [[nodiscard]] ForkServer& fork_server(unsigned threads);

  /// The nodes with the limits in force.
  [[nodiscard]] std::vector<NodeSpec> specs() const;
  /// See Runtime::set_limits.
  Result<void> set_limits(const std::string& node, Cpus cpus, Bytes memory);

  [[nodiscard]] SegmentStore& segments() noexcept { return segments_; }

  Capabilities capabilities;
  /// Shared with the thread that runs it: the last session may go, and the runtime with it, in one of its handlers.
  const std::shared_ptr<boost::asio::io_context> io = std::make_shared<boost::asio::io_context>();
  /// For what takes long and must not hold up the thread above. What runs here holds no session and no runtime alive.
  boost::asio::thread_pool helpers{2};
  /// The Monitor's, on a thread of its own: neither its readings nor what its subscribers do hold up a request.
  const std::shared_ptr<boost::asio::io_context> monitor_io = std::make_shared<boost::asio::io_context>();
  std::vector<std::unique_ptr<Node>> nodes;
  std::optional<Monitor> monitor;

 private:
  RuntimeState(std::vector<NodeSpec> nodes, RuntimeOptions options);
  Result<Started> start_process(Node* node);
  Result<Started> start_thread(Node* node);
  /// The quota of the node binds the thread from now on.
  Result<void> hold_thread(Node& node, pid_t thread);
  Result<void> make_groups();
  Result<void> hold_extra_limits(Node& node, const cgroup::Limits& wanted);
  /// Goes on without `what`, e.g. "memory limits are", and keeps the reason; the error itself with `require_limits`.
  Result<void> degrade(const Error& error, std::string_view what);
  [[nodiscard]] cgroup::Limits limits_of(const NodeSpec& spec) const;
  [[nodiscard]] cgroup::Limits thread_limits_of(const NodeSpec& spec) const;
  void hold_without_groups();

  RuntimeOptions options_;
  std::filesystem::path worker_executable_;
  SegmentStore segments_;
  std::mutex fork_servers_mutex_;
  std::map<unsigned, ForkServer> fork_servers_;  ///< By the number of threads of their workers.
  cgroup::Hierarchy hierarchy_;
  std::shared_ptr<cgroup::Backend> backend_;
  std::string host_group_;
  std::atomic<unsigned> next_worker_ = 0;
  std::mutex limits_mutex_;  // One change of limits at a time.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> monitor_work_;
  std::thread thread_;
  std::thread monitor_thread_;
};

}  // namespace amp4ec::detail
