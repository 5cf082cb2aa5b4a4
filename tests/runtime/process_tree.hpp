// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <sys/prctl.h>
#include <unistd.h>

namespace amp4ec::test {

/// One line of /proc/PID/stat.
struct ProcessEntry {
  pid_t pid = -1;
  pid_t parent = -1;
  std::string name;
  char state = 0;

  [[nodiscard]] bool is_zombie() const noexcept { return state == 'Z'; }
};

/// All of them that can be read.
inline std::vector<ProcessEntry> all_processes() {
  std::vector<ProcessEntry> found;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failed)) {
    ProcessEntry process;
    process.pid = std::atoi(entry.path().filename().c_str());
    if (process.pid <= 0) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;  // It has ended meanwhile.
    const auto begin = line.find('(');
    const auto end = line.rfind(')');
    if (begin == std::string::npos || end == std::string::npos ||
        std::sscanf(line.c_str() + end + 1, " %c %d", &process.state, &process.parent) != 2) {
      continue;
    }
    process.name = line.substr(begin + 1, end - begin - 1);
    found.push_back(std::move(process));
  }
  return found;
}

/// From now on, descendants of this process whose parent ends become its own children: none can escape `descendants`.
inline void adopt_orphans() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/// Children of this process, their children, and so on.
inline std::vector<ProcessEntry> descendants() {
  std::vector<ProcessEntry> others = all_processes();
  std::vector<ProcessEntry> found;
  std::vector<pid_t> parents{::getpid()};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    for (const ProcessEntry& process : others) {
      if (process.parent != parent) continue;
      found.push_back(process);
      parents.push_back(process.pid);
    }
  }
  return found;
}

/// What a process holds, as /proc tells it.
struct ProcessUse {
  std::uint64_t anonymous_kib = 0;  ///< Resident private memory.
  std::uint64_t shared_kib = 0;     ///< Resident memory of memory files.
  std::size_t mappings = 0;
  std::size_t memory_files = 0;  ///< Of the mappings: memory files of ours.
  std::size_t descriptors = 0;
  std::size_t memory_file_descriptors = 0;
};

/// Our memory files are called so, in /proc/PID/maps and in /proc/PID/fd.
inline constexpr std::string_view memory_file_prefix = "/memfd:amp4ec";

inline ProcessUse use_of(pid_t pid) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path("/proc") / std::to_string(pid);
  ProcessUse use;
  std::ifstream status(folder / "status");
  for (std::string line; std::getline(status, line);) {
    const auto read = [&](std::string_view key, std::uint64_t& into) {
      if (line.starts_with(key)) into = std::strtoull(line.c_str() + key.size(), nullptr, 10);
    };
    read("RssAnon:", use.anonymous_kib);
    read("RssShmem:", use.shared_kib);
  }
  std::ifstream maps(folder / "maps");
  for (std::string line; std::getline(maps, line);) {
    ++use.mappings;
    if (line.find(memory_file_prefix) != std::string::npos) ++use.memory_files;
  }
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder / "fd", failed)) {
    ++use.descriptors;
    std::error_code gone;
    if (fs::read_symlink(entry.path(), gone).string().starts_with(memory_file_prefix)) ++use.memory_file_descriptors;
  }
  return use;
}

}  // namespace amp4ec::test
