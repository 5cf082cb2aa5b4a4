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
#include <cstddef>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

/// What runs in a group: listing, freezing and killing it.
namespace amp4ec::cgroup::detail {

using Clock = std::chrono::steady_clock;

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

inline Error holds_caller(const std::string& folder, std::string_view refused) {
  return Error{Errc::CgroupFailed,
               fmt::format("{} holds the calling process, which will not {} itself", folder, refused)};
}

/// Whether the kernel has brought a group to the wanted state.
inline Result<bool> is_frozen(const Tree& tree, const std::string& group) {
  const auto text = read_file(join(tree.folder(group), tree.version == 2 ? files::events : files::freezer_state));
  if (!text) return text.error();
  return tree.version == 2 ? parse_frozen(*text) : parse_freezer_state(*text);
}

inline Result<void> write_frozen(Backend& backend, const Tree& tree, const std::string& group, bool frozen) {
  if (tree.version == 2) return backend.write(tree, group, files::freeze, frozen ? "1" : "0");
  return backend.write(tree, group, files::freezer_state, frozen ? "FROZEN" : "THAWED");
}

/// Halts or resumes a group and the groups below it, and waits until the kernel says so. A group that will not freeze
/// is resumed.
inline Result<void> set_frozen(Backend& backend, const Tree& tree, const std::string& group, bool frozen,
                               Clock::time_point deadline) {
  const auto folder = tree.folder(group);
  if (frozen) {
    const auto processes = processes_below(folder);
    if (!processes) return processes.error();
    if (std::find(processes->begin(), processes->end(), ::getpid()) != processes->end()) {
      return holds_caller(folder, "freeze");
    }
  }
  if (auto written = write_frozen(backend, tree, group, frozen); !written) return written;
  for (Backoff backoff;; backoff.wait()) {
    const auto now = is_frozen(tree, group);
    if (!now) return now.error();
    if (*now == frozen) return {};
    if (Clock::now() < deadline) continue;
    if (frozen) (void)write_frozen(backend, tree, group, false);
    return Error{Errc::CgroupFailed, frozen ? fmt::format("{} has not frozen in time and was resumed; a process may be "
                                                          "stuck in the kernel, try again with a longer time-out",
                                                          folder)
                                            : fmt::format("{} is still frozen; resume the group above it", folder)};
  }
}

/// Resumes what is frozen in a v1 tree, the groups below included: there a frozen process does not die.
inline void thaw_below(Backend& backend, const Tree& tree, const std::string& group) {
  const auto folder = tree.folder(group);
  const auto text = read_file(join(folder, files::freezer_state));
  if (text && *text != "THAWED\n") (void)write_frozen(backend, tree, group, false);
  for (const auto& name : subfolders(folder)) thaw_below(backend, tree, join(group, name));
}

/// A tree in which a group is not empty.
struct Occupied {
  const Tree* tree;
  std::vector<pid_t> processes;
};

inline Result<std::vector<Occupied>> occupied(const std::vector<Tree>& trees, const std::string& group) {
  std::vector<Occupied> found;
  for (const auto& tree : trees) {
    const auto folder = tree.folder(group);
    const auto processes = processes_below(folder);
    if (!processes) return processes.error();
    bool empty = processes->empty();
    if (tree.version == 2) {
      // cgroup.events also knows of processes that cgroup.procs cannot show.
      if (const auto text = read_file(join(folder, files::events)); text) {
        const auto populated = parse_populated(*text);
        if (!populated) return populated.error();
        empty = !*populated;
      }
    }
    if (!empty) found.push_back({&tree, *processes});
  }
  return found;
}

/// Sends SIGKILL to those of these processes that are in the group or below it. Since they were listed one may have
/// ended, and its pid may be another's: a descriptor tells them apart, and who is listed anew while its descriptor is
/// held is the one that is signalled. A group that cannot be read any more has nobody to kill.
inline void kill_members(const std::string& folder, const std::vector<pid_t>& processes) {
  static constexpr std::size_t at_once = 64;  // descriptors
  struct Held {
    pid_t process;
    Descriptor pidfd;
  };
  for (std::size_t begin = 0; begin < processes.size(); begin += at_once) {
    std::vector<Held> held;
    for (std::size_t i = begin; i < std::min(begin + at_once, processes.size()); ++i) {
      const auto process = processes[i];
      Descriptor pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
      if (!pidfd && errno == ESRCH) continue;
      held.push_back({process, std::move(pidfd)});
    }
    if (held.empty()) continue;
    const auto members = processes_below(folder);
    if (!members) return;
    for (const auto& [process, pidfd] : held) {
      if (std::find(members->begin(), members->end(), process) == members->end()) continue;
      if (pidfd) {
        (void)::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
      } else {
        ::kill(process, SIGKILL);  // without pidfds (Linux 5.3), or without a descriptor to spare
      }
    }
  }
}

/// Sends SIGKILL to all that was found, and lets it die: a process that is frozen in a v1 tree stays as it is.
inline void kill_once(Backend& backend, const std::vector<Occupied>& found, const std::string& group) {
  std::set<pid_t> signalled;
  for (const auto& [tree, processes] : found) {
    if (tree->version == 2 && write_file(join(tree->folder(group), files::kill), "1")) {
      signalled.insert(processes.begin(), processes.end());
    }
  }
  for (const auto& [tree, processes] : found) {
    std::vector<pid_t> left;
    for (const auto process : processes) {
      // 0 is a foreign namespace's, and would mean our own process group.
      if (process > 0 && signalled.insert(process).second) left.push_back(process);
    }
    if (!left.empty()) kill_members(tree->folder(group), left);
  }
  for (const auto& [tree, processes] : found) {
    if (tree->version == 1 && tree->has(Controller::Freezer)) thaw_below(backend, *tree, group);
  }
}

/// Kills everything in a group and below it, in whichever of the trees it is, frozen or not, and waits until the kernel
/// calls the group empty in all of them.
inline Result<void> kill_until_empty(Backend& backend, const std::vector<Tree>& trees, const std::string& group,
                                     Clock::time_point deadline) {
  for (Backoff backoff;; backoff.wait()) {
    const auto found = occupied(trees, group);
    if (!found) return found.error();
    if (found->empty()) return {};
    for (const auto& [tree, processes] : *found) {
      if (std::find(processes.begin(), processes.end(), ::getpid()) != processes.end()) {
        return holds_caller(tree->folder(group), "kill");
      }
    }
    kill_once(backend, *found, group);
    if (Clock::now() >= deadline) {
      const auto& [tree, processes] = found->front();
      return Error{
          Errc::CgroupFailed,
          fmt::format("{} still holds {} processes after SIGKILL (first: {}); they may be stuck in the kernel or "
                      "belong to another user",
                      tree->folder(group), processes.size(), processes.empty() ? 0 : processes.front())};
    }
  }
}

}  // namespace amp4ec::cgroup::detail
