// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/proc_files.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

/// What ThreadGroup does to one tree. v2's rules for threads: Documentation/admin-guide/cgroup-v2.rst, "Threads".
namespace amp4ec::cgroup::detail {

inline std::string_view threads_file(const Tree& tree) {
  return tree.version == 2 ? files::threads : files::tasks;
}

/// The trees in which threads of this process can be held, v2's based on the group that this process is in: a thread
/// may not leave its process's group but downwards. With `limited`, one of them has the cpu controller.
inline Result<std::vector<Tree>> thread_trees(const Hierarchy& hierarchy, bool limited) {
  std::vector<Tree> trees;
  std::optional<Error> refusal;
  bool has_cpu = false;
  for (auto tree : hierarchy.trees()) {
    if (tree.version == 2) {
      // Unlike a domain controller, cpu can be enabled below a group that holds processes.
      tree.base = tree.own;
      const auto offered = read_file(join(tree.folder(""), files::controllers));
      std::erase(tree.controllers, Controller::Cpu);
      if (offered && has_word(std::string_view(*offered).substr(0, offered->find('\n')), ' ', "cpu")) {
        tree.controllers.push_back(Controller::Cpu);
      }
    }
    if (!tree.has(Controller::Cpu) && !tree.has(Controller::CpuAccounting)) continue;
    if (!writable(tree.folder(""))) {
      refusal = system_error(errno, "making thread groups below " + tree.folder(""));
      continue;
    }
    has_cpu = has_cpu || tree.has(Controller::Cpu);
    trees.push_back(std::move(tree));
  }
  if (!trees.empty() && (has_cpu || !limited)) return trees;
  if (refusal) return *refusal;
  return Error{Errc::CgroupUnavailable,
               "no cgroup tree offers the 'cpu' controller to threads of this process; enable it in the kernel, or "
               "start the host in a group that is given cpu (systemd-run --user --scope -p Delegate=yes)"};
}

inline Result<void> remove_thread_folder(Backend& backend, const Tree& tree, const std::string& group) {
  auto& owned = owned_groups();
  const std::lock_guard lock(owned.mutex);
  if (auto gone = remove_with_children(backend, tree, group, Clock::now() + std::chrono::seconds(1)); !gone) {
    return gone;
  }
  owned.folders.erase(tree.folder(group));
  remove_unowned_parents(backend, tree, group, owned);
  return {};
}

/// Makes one group for threads and those of its parents that are missing. The lock of `owned` is held.
inline Result<void> make_for_threads(Backend& backend, const Tree& tree, const std::string& group, OwnedGroups& owned) {
  const auto parent = parent_group(group);
  if (!parent.empty() && !exists(tree.folder(parent))) {
    if (auto made = make_for_threads(backend, tree, parent, owned); !made) return made;
  }
  if (auto enabled = enable_for_children(backend, tree, parent, {Controller::Cpu}, owned); !enabled) return enabled;
  if (auto made = backend.create(tree, group); !made) return made;
  if (tree.version != 2) return {};
  auto threaded = backend.write(tree, group, files::type, "threaded");
  if (!threaded) (void)backend.remove(tree, group);
  return threaded;
}

inline Result<void> create_for_threads(Backend& backend, const Tree& tree, const std::string& group) {
  auto& owned = owned_groups();
  const std::lock_guard lock(owned.mutex);
  if (exists(tree.folder(group))) {
    return Error{Errc::CgroupFailed,
                 fmt::format("the group {} is there already; choose another name", tree.folder(group))};
  }
  if (auto made = make_for_threads(backend, tree, group, owned); !made) {
    remove_unowned_parents(backend, tree, group, owned);
    if (tree.version == 1 || made.error().code != Errc::CgroupFailed) return made;
    return Error{Errc::CgroupFailed,
                 fmt::format("{}; threads can be held only below a v2 group that hands no other controllers on and has "
                             "no occupied groups below it: start the host in a child of its delegated group",
                             made.error().message)};
  }
  owned.folders.insert(tree.folder(group));
  return {};
}

/// The folders that a thread of this process is in, tree by tree.
inline Result<std::vector<std::string>> origins_of(const std::vector<Tree>& trees, pid_t thread) {
  const auto text = read_file(fmt::format("/proc/self/task/{}/cgroup", thread));
  if (!text) {
    return Error{Errc::InvalidArgument, fmt::format("{} is not a thread of this process", thread)};
  }
  const auto groups = parse_own_groups(*text);
  if (!groups) return groups.error();
  std::vector<std::string> origins;
  for (const auto& tree : trees) {
    auto origin = tree.mount_point + tree.own;
    for (const auto& group : *groups) {
      const bool in_tree = tree.version == 2 ? group.hierarchy == 0
                                             : has_word(group.controllers, ',', to_string(tree.controllers.front()));
      if (!in_tree) continue;
      const auto below = group_below(tree.mount_root, group.path);
      if (exists(join(tree.mount_point + below, threads_file(tree)))) origin = tree.mount_point + below;
    }
    origins.push_back(std::move(origin));
  }
  return origins;
}

/// To a folder that is none of our groups, hence past the backend. A thread that has ended needs no place.
inline Result<void> move_thread(const Tree& tree, const std::string& folder, pid_t thread) {
  auto moved = write_file(join(folder, threads_file(tree)), fmt::to_string(thread));
  if (!moved && !exists(fmt::format("/proc/{}", thread))) return {};
  return moved;
}

/// Moves every thread in the group to where `home_of` says, or else to the group of this process.
template <class HomeOf>
Result<void> move_threads_out(const Tree& tree, const std::string& group, HomeOf home_of) {
  const auto own = tree.mount_point + tree.own;
  static constexpr int most_looks = 100;  // threads may start meanwhile
  for (int look = 0; look < most_looks; ++look) {
    const auto text = read_file(join(tree.folder(group), threads_file(tree)));
    if (!text) return text.error();
    const auto threads = parse_processes(*text);
    if (!threads) return threads.error();
    if (threads->empty()) return {};
    for (const auto thread : *threads) {
      if (move_thread(tree, home_of(thread), thread)) continue;
      if (auto moved = move_thread(tree, own, thread); !moved) return moved;
    }
  }
  return Error{Errc::CgroupFailed, fmt::format("new threads keep starting in {}", tree.folder(group))};
}

}  // namespace amp4ec::cgroup::detail
