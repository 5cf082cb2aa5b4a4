// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <unistd.h>

/// What Group and remove_stale_groups do to one group of one tree.
namespace amp4ec::cgroup::detail {

using Clock = std::chrono::steady_clock;

/// The groups of this process that a Group object owns, by folder. Their parents may have been made in passing; those
/// go with their last child, the owned ones only with their owner.
struct OwnedGroups {
  std::mutex mutex;
  std::set<std::string> folders;
};

inline OwnedGroups& owned_groups() {
  static OwnedGroups groups;
  return groups;
}

/// "a/b/c" -> "a/b"; "a" -> "".
inline std::string parent_group(const std::string& group) {
  const auto slash = group.rfind('/');
  return slash == std::string::npos ? std::string() : group.substr(0, slash);
}

/// Waits between two looks at the kernel, longer each time: most groups are empty within a millisecond.
class Backoff {
 public:
  void wait() {
    std::this_thread::sleep_for(pause_);
    pause_ = std::min<std::chrono::microseconds>(2 * pause_, std::chrono::milliseconds(20));
  }

 private:
  std::chrono::microseconds pause_{100};
};

/// The processes of a group and of all groups below it. A group that is gone has none.
inline Result<std::vector<pid_t>> processes_below(const std::string& folder) {
  std::vector<pid_t> all;
  if (!exists(folder)) return all;
  if (const auto text = read_file(join(folder, files::processes)); text) {
    const auto processes = parse_processes(*text);
    if (!processes) return processes.error();
    all = *processes;
  } else if (text.error().code == Errc::PermissionDenied || exists(folder)) {
    return text.error();
  }
  for (const auto& name : subfolders(folder)) {
    const auto below = processes_below(join(folder, name));
    if (!below) return below.error();
    all.insert(all.end(), below->begin(), below->end());
  }
  return all;
}

/// Kills everything in a group and below it, and waits until the kernel calls it empty.
inline Result<void> kill_until_empty(const Tree& tree, const std::string& group, Clock::time_point deadline) {
  const auto folder = tree.folder(group);
  for (Backoff backoff;; backoff.wait()) {
    const auto processes = processes_below(folder);
    if (!processes) return processes.error();
    if (std::find(processes->begin(), processes->end(), ::getpid()) != processes->end()) {
      return Error{Errc::CgroupFailed, fmt::format("{} holds the calling process, which will not kill itself", folder)};
    }
    bool empty = processes->empty();
    if (tree.version == 2) {
      // cgroup.events also knows of processes that cgroup.procs cannot show.
      if (const auto text = read_file(join(folder, files::events)); text) {
        const auto populated = parse_populated(*text);
        if (!populated) return populated.error();
        empty = !*populated;
      }
    }
    if (empty) return {};
    if (Clock::now() >= deadline) {
      return Error{
          Errc::CgroupFailed,
          fmt::format("{} still holds {} processes after SIGKILL (first: {}); they may be stuck in the kernel or "
                      "belong to another user",
                      folder, processes->size(), processes->empty() ? 0 : processes->front())};
    }
    if (tree.version == 2 && write_file(join(folder, files::kill), "1")) continue;
    for (const auto process : *processes) {
      if (process > 0) ::kill(process, SIGKILL);  // 0 is a foreign namespace's, and would mean our own process group
    }
  }
}

/// Removes an empty group and the groups below it, lowest first.
inline Result<void> remove_with_children(Backend& backend, const Tree& tree, const std::string& group,
                                         Clock::time_point deadline) {
  for (const auto& name : subfolders(tree.folder(group))) {
    if (auto removed = remove_with_children(backend, tree, group + "/" + name, deadline); !removed) return removed;
  }
  for (Backoff backoff;; backoff.wait()) {
    auto removed = backend.remove(tree, group);
    // The kernel may call a group busy for a moment after its last process has gone.
    if (removed || removed.error().code == Errc::PermissionDenied || Clock::now() >= deadline) return removed;
  }
}

/// On v2, lets the children of a group have the tree's controllers. Writes to the base and to our own groups only.
inline Result<void> enable_for_children(Backend& backend, const Tree& tree, const std::string& group) {
  if (tree.version != 2) return {};
  const auto text = read_file(join(tree.folder(group), files::subtree_control));
  if (!text) return text.error();
  const auto enabled = std::string_view(*text).substr(0, text->find('\n'));
  std::string missing;
  for (const auto controller : {Controller::Cpu, Controller::Memory}) {
    if (!tree.has(controller) || has_word(enabled, ' ', to_string(controller))) continue;
    missing += fmt::format("{}+{}", missing.empty() ? "" : " ", to_string(controller));
  }
  if (missing.empty()) return {};
  auto written = backend.write(tree, group, files::subtree_control, missing);
  if (!written && written.error().code == Errc::CgroupFailed) {
    return Error{Errc::CgroupFailed,
                 written.error().message +
                     "; a v2 group cannot hold processes and limited groups at once: attach to the lowest groups only"};
  }
  return written;
}

/// Makes a group and those of its parents that are missing.
inline Result<void> create_with_parents(Backend& backend, const Tree& tree, const std::string& group) {
  const auto parent = parent_group(group);
  if (!parent.empty() && !exists(tree.folder(parent))) {
    if (auto created = create_with_parents(backend, tree, parent); !created) return created;
  }
  if (auto enabled = enable_for_children(backend, tree, parent); !enabled) return enabled;
  if (auto created = backend.create(tree, group); !created) return created;
  if (tree.version == 1 && tree.has(Controller::Memory)) {
    // Before Linux 5.11 a group's limit holds for the groups below it only if it says so.
    const auto text = read_file(join(tree.folder(group), files::memory_hierarchy));
    if (text && *text == "0\n") return backend.write(tree, group, files::memory_hierarchy, "1");
  }
  return {};
}

/// Removes the parents of a removed group that were made in passing and are empty by now.
inline void remove_unowned_parents(Backend& backend, const Tree& tree, std::string group, const OwnedGroups& owned) {
  for (group = parent_group(group); !group.empty(); group = parent_group(group)) {
    const auto folder = tree.folder(group);
    if (owned.folders.contains(folder) || !subfolders(folder).empty()) return;
    if (!backend.remove(tree, group)) return;
  }
}

}  // namespace amp4ec::cgroup::detail
