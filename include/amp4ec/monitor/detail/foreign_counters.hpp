// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/ipc/worker_counters.hpp>

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/types.h>

namespace amp4ec::detail {

/// Calls `see` with all counters that a process holds, mapped for reading, until that says true: those of the worker
/// that it is, of its worker threads, and of the workers whose host it is; some more than once. None without the right
/// to look into the process (same user, or root).
template <class See>
void visit_counters(pid_t process, See see) {
  const std::string wanted = fmt::format("/memfd:{} (deleted)", ipc::WorkerCounters::file_name);
  std::error_code failed;
  std::filesystem::directory_iterator entry(fmt::format("/proc/{}/fd", process), failed);
  for (const std::filesystem::directory_iterator end; !failed && entry != end; entry.increment(failed)) {
    std::error_code vanished;
    if (std::filesystem::read_symlink(entry->path(), vanished) != wanted) continue;
    // The number may stand for another file by now, one that could block; what it is, the view checks.
    ipc::UniqueFd fd(::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) continue;
    if (auto view = ipc::WorkerCountersView::open(std::move(fd)); view && see(std::move(*view))) return;
  }
}

/// The counters of a worker process. Nothing before it has got them; see `visit_counters`.
inline std::optional<ipc::WorkerCountersView> find_counters(pid_t process) {
  std::optional<ipc::WorkerCountersView> found;
  visit_counters(process, [&](ipc::WorkerCountersView view) {
    found.emplace(std::move(view));
    return true;
  });
  return found;
}

}  // namespace amp4ec::detail
