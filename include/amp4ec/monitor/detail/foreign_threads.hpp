// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/kernel_text.hpp>
#include <amp4ec/cgroup/detail/thread_tree.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/foreign_counters.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

/// Worker threads of other processes, found by the group that holds them. Writes nothing.
namespace amp4ec::detail {

/// A thread of another process.
struct ForeignThread {
  pid_t process = 0;
  pid_t id = 0;
  std::uint64_t own_id = 0;  ///< As its own process sees it, in its pid namespace.

  /// From the text of /proc/<thread>/status (proc(5)). Nothing when it makes no sense.
  static std::optional<ForeignThread> parse(std::string_view status) {
    ForeignThread thread;
    while (!status.empty()) {
      auto value = cgroup::detail::take_until(status, '\n');
      const auto key = cgroup::detail::take_until(value, ':');
      // "NSpid:", after a tab: the id in each pid namespace, from ours to its own.
      const auto number = cgroup::detail::to_number(value.substr(value.rfind('\t') + 1));
      if (!number) continue;
      if (key == "Tgid") thread.process = static_cast<pid_t>(*number);
      if (key == "Pid") thread.id = static_cast<pid_t>(*number);
      if (key == "NSpid") thread.own_id = *number;
    }
    if (thread.process <= 0 || thread.id <= 0) return std::nullopt;
    if (thread.own_id == 0) thread.own_id = static_cast<std::uint64_t>(thread.id);
    return thread;
  }
};

/// The threads in a group for threads: the workers, and what these have started.
inline std::vector<ForeignThread> threads_in(const std::vector<cgroup::Tree>& trees, const std::string& group) {
  std::vector<ForeignThread> threads;
  for (const auto& tree : trees) {
    const cgroup::detail::GroupFolder folder{tree, group};
    const auto ids = folder.read(cgroup::detail::threads_file(tree), cgroup::parse_processes);
    if (!ids || ids->empty()) continue;
    for (const auto id : *ids) {
      const auto status = cgroup::detail::read_file(fmt::format("/proc/{}/status", id));
      if (!status) continue;
      if (const auto thread = ForeignThread::parse(*status)) threads.push_back(*thread);
    }
    break;  // The others hold the same.
  }
  return threads;
}

/// A worker thread as it is found.
struct SeenThread {
  ForeignThread thread;
  std::optional<ipc::WorkerCountersView> counters;
};

/// The worker threads in a group, by name. Their process holds the counters of all its workers, and each says which
/// thread serves: so those of process workers, and of threads on other nodes, are left out. Where there are threads,
/// but none whose counters can be told (another user's; still starting), one entry stands for all.
inline std::map<std::string, SeenThread> see_threads(const std::vector<cgroup::Tree>& trees, const std::string& group) {
  std::map<std::string, SeenThread> seen;
  const auto threads = threads_in(trees, group);
  if (threads.empty()) return seen;
  visit_counters(threads.front().id, [&](ipc::WorkerCountersView view) {
    const auto stats = view.snapshot();
    if (!stats || stats->thread == 0) return false;
    for (const auto& thread : threads) {
      if (thread.own_id != stats->thread) continue;
      seen.try_emplace(fmt::format("thread-{}", thread.id), SeenThread{thread, std::move(view)});
      break;
    }
    return false;
  });
  if (seen.empty()) seen.emplace("threads", SeenThread{{threads.front().process, 0, 0}, std::nullopt});
  return seen;
}

}  // namespace amp4ec::detail
