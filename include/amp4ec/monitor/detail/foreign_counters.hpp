// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/ipc/worker_counters.hpp>

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/types.h>

namespace amp4ec::detail {

/// The counters that a worker process holds, mapped for reading. Nothing without the right to look into the process
/// (same user, or root), and before the worker has got them.
inline std::optional<ipc::WorkerCountersView> find_counters(pid_t process) {
  const std::string wanted = fmt::format("/memfd:{} (deleted)", ipc::WorkerCounters::file_name);
  std::error_code failed;
  std::filesystem::directory_iterator entry(fmt::format("/proc/{}/fd", process), failed);
  for (const std::filesystem::directory_iterator end; !failed && entry != end; entry.increment(failed)) {
    std::error_code vanished;
    if (std::filesystem::read_symlink(entry->path(), vanished) != wanted) continue;
    // The number may stand for another file by now, one that could block; what it is, the view checks.
    ipc::UniqueFd fd(::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) continue;
    if (auto view = ipc::WorkerCountersView::open(std::move(fd))) return std::move(*view);
  }
  return std::nullopt;
}

}  // namespace amp4ec::detail
