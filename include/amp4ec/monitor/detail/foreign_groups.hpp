// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/memory_limits.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/limits.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

/// The groups of all amp4ec hosts of a machine, found and read by somebody who made none of them. Writes nothing.
namespace amp4ec::detail {

/// A node's groups, wherever in the hierarchy they lie: one for processes, one for threads, or both.
struct ForeignNode {
  cgroup::HostIdentity host;
  std::string runtime;                     ///< "runtime-2" for the nodes of a host's second runtime; "" for its first.
  std::string name;                        ///< Of the node.
  std::vector<cgroup::Tree> trees;         ///< Those it is in, with the base at which its host's group lies.
  std::set<std::string> workers;           ///< Names of the groups below it.
  std::string thread_group;                ///< Path of the group for threads.
  std::vector<cgroup::Tree> thread_trees;  ///< Those that this one is in; none for a node without worker threads.
};

/// "<prefix>17" -> true.
inline bool is_numbered(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) && cgroup::detail::to_number(name.substr(prefix.size())).has_value();
}

/// Finds nodes by the path of their group for processes, e.g. "amp4ec-17-4711/high" or "amp4ec-17-4711/runtime-2/high",
/// which need not be there where threads work.
class ForeignGroupScan {
 public:
  explicit ForeignGroupScan(const cgroup::Hierarchy& hierarchy) : hierarchy_(hierarchy) {}

  [[nodiscard]] std::map<std::string, ForeignNode> run() {
    for (const auto& tree : hierarchy_.trees()) visit(tree, "", 0);
    return std::move(nodes_);
  }

 private:
  void visit(const cgroup::Tree& tree, const std::string& base, int depth) {
    static constexpr int deepest = 16;
    for (const auto& name : cgroup::detail::subfolders(tree.mount_point + base)) {
      if (const auto host = cgroup::parse_host_group(name)) {
        add_host(rebased(tree, base), *host, name);
      } else if (const auto of_threads = cgroup::parse_thread_group(name)) {
        add_thread_host(rebased(tree, base), *of_threads, name);
      } else if (depth < deepest) {
        visit(tree, base + "/" + name, depth + 1);
      }
    }
  }

  /// What a tree offers to this process says nothing of groups that others made elsewhere in it: on v2, all that no v1
  /// tree counts is looked for, and a missing file reads as 0.
  [[nodiscard]] cgroup::Tree rebased(cgroup::Tree tree, const std::string& base) const {
    tree.base = base;
    if (tree.version != 2) return tree;
    for (const auto controller :
         {cgroup::Controller::Cpu, cgroup::Controller::CpuAccounting, cgroup::Controller::Memory}) {
      const auto counts = [&](const cgroup::Tree& other) { return other.has(controller); };
      if (std::none_of(hierarchy_.trees().begin(), hierarchy_.trees().end(), counts)) {
        tree.controllers.push_back(controller);
      }
    }
    return tree;
  }

  void add_host(const cgroup::Tree& tree, const cgroup::HostIdentity& host, const std::string& group) {
    for (const auto& name : cgroup::detail::subfolders(tree.folder(group))) {
      const auto path = group + "/" + name;
      if (!is_runtime(tree, path, name)) {
        add_node(tree, host, path, "", name);
        continue;
      }
      for (const auto& node : cgroup::detail::subfolders(tree.folder(path))) {
        add_node(tree, host, path + "/" + node, name, node);
      }
    }
  }

  /// A node may be called "runtime-2", too; but what lies in a node are workers, and those hold no groups.
  static bool is_runtime(const cgroup::Tree& tree, const std::string& path, const std::string& name) {
    if (!is_numbered(name, "runtime-")) return false;
    const auto below = cgroup::detail::subfolders(tree.folder(path));
    return std::any_of(below.begin(), below.end(), [&](const std::string& each) {
      return !is_numbered(each, "worker-") || !cgroup::detail::subfolders(tree.folder(path + "/" + each)).empty();
    });
  }

  void add_node(const cgroup::Tree& tree, const cgroup::HostIdentity& host, const std::string& path,
                const std::string& runtime, const std::string& name) {
    auto& node = node_at(path, host, runtime, name);
    node.trees.push_back(tree);
    for (auto& worker : cgroup::detail::subfolders(tree.folder(path))) node.workers.insert(std::move(worker));
  }

  /// Groups for threads have none below, so what has is a runtime's.
  void add_thread_host(const cgroup::Tree& tree, const cgroup::HostIdentity& host, const std::string& group) {
    for (const auto& name : cgroup::detail::subfolders(tree.folder(group))) {
      const auto below = cgroup::detail::subfolders(tree.folder(group + "/" + name));
      if (below.empty()) add_thread_node(tree, host, group, "", name);
      for (const auto& node : below) add_thread_node(tree, host, group, name, node);
    }
  }

  void add_thread_node(const cgroup::Tree& tree, const cgroup::HostIdentity& host, const std::string& group,
                       const std::string& runtime, const std::string& name) {
    const auto below = runtime.empty() ? name : runtime + "/" + name;
    auto& node = node_at(cgroup::host_group_name(host) + "/" + below, host, runtime, name);
    node.thread_group = group + "/" + below;
    node.thread_trees.push_back(tree);
  }

  ForeignNode& node_at(const std::string& path, const cgroup::HostIdentity& host, const std::string& runtime,
                       const std::string& name) {
    auto& node = nodes_[path];
    node.host = host;
    node.runtime = runtime;
    node.name = name;
    return node;
  }

  const cgroup::Hierarchy& hierarchy_;
  std::map<std::string, ForeignNode> nodes_;
};

/// What the kernel holds a group to, in CPU and memory; 0 also where that cannot be read.
inline cgroup::Limits read_limits(const std::vector<cgroup::Tree>& trees, const std::string& group) {
  cgroup::Limits limits;
  for (const auto& tree : trees) {
    const cgroup::detail::GroupFolder folder{tree, group};
    if (tree.has(cgroup::Controller::Cpu)) (void)cgroup::detail::QuotaLimit::read(folder, limits);
    if (tree.has(cgroup::Controller::Memory)) (void)cgroup::detail::MemoryLimit::read(folder, limits);
  }
  return limits;
}

/// The first process in a group: that of its worker. 0: none, or none that this pid namespace can name.
inline pid_t first_process(const std::vector<cgroup::Tree>& trees, const std::string& group) {
  for (const auto& tree : trees) {
    const cgroup::detail::GroupFolder folder{tree, group};
    const auto processes = folder.read(cgroup::files::processes, cgroup::parse_processes);
    if (processes && !processes->empty()) return processes->front();
  }
  return 0;
}

}  // namespace amp4ec::detail
