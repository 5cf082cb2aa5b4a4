// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

/// The kernel's file names, and parsers of their contents. Every parser takes text and returns a value or an Error
/// (CgroupFailed); none allocates unless it returns a list or fails. Formats: the kernel's
/// Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, proc(5), cgroups(7).
namespace amp4ec::cgroup {

namespace files {
// both versions
inline constexpr std::string_view processes = "cgroup.procs";
inline constexpr std::string_view cpu_stat = "cpu.stat";
inline constexpr std::string_view memory_stat = "memory.stat";
// v2
inline constexpr std::string_view controllers = "cgroup.controllers";
inline constexpr std::string_view subtree_control = "cgroup.subtree_control";
inline constexpr std::string_view type = "cgroup.type";  ///< Every group but the real root has it.
inline constexpr std::string_view kill = "cgroup.kill";  ///< Linux 5.14 and later.
inline constexpr std::string_view events = "cgroup.events";
inline constexpr std::string_view cpu_max = "cpu.max";
inline constexpr std::string_view memory_max = "memory.max";
inline constexpr std::string_view memory_swap_max = "memory.swap.max";
inline constexpr std::string_view memory_current = "memory.current";
inline constexpr std::string_view memory_peak = "memory.peak";  ///< Linux 5.19 and later.
inline constexpr std::string_view memory_events = "memory.events";
// v1
inline constexpr std::string_view cpu_quota = "cpu.cfs_quota_us";
inline constexpr std::string_view cpu_period = "cpu.cfs_period_us";
inline constexpr std::string_view cpu_usage = "cpuacct.usage";
inline constexpr std::string_view memory_limit = "memory.limit_in_bytes";
inline constexpr std::string_view memory_swap_limit = "memory.memsw.limit_in_bytes";  ///< Memory plus swap.
inline constexpr std::string_view memory_usage = "memory.usage_in_bytes";
inline constexpr std::string_view memory_max_usage = "memory.max_usage_in_bytes";
inline constexpr std::string_view memory_oom_control = "memory.oom_control";
inline constexpr std::string_view memory_hierarchy = "memory.use_hierarchy";
// proc
inline constexpr std::string_view own_groups = "proc/self/cgroup";
inline constexpr std::string_view mounts = "proc/self/mountinfo";
}  // namespace files

namespace detail {

/// Takes the text up to the separator off the front of `rest`, separator included.
inline std::string_view take_until(std::string_view& rest, char separator) noexcept {
  const auto at = rest.find(separator);
  const auto taken = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return taken;
}

inline std::optional<std::uint64_t> to_number(std::string_view text) noexcept {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

inline Error malformed(std::string_view what, std::string_view text) {
  return Error{Errc::CgroupFailed, fmt::format("cannot read {} from the kernel's text '{}'", what, text.substr(0, 80))};
}

/// True if `word` is one of the words of `text`, which `separator` parts.
inline bool has_word(std::string_view text, char separator, std::string_view word) noexcept {
  while (!text.empty()) {
    if (take_until(text, separator) == word) return true;
  }
  return false;
}

}  // namespace detail

/// One number and a newline: cpuacct.usage (ns), memory.current and its like (bytes).
inline Result<std::uint64_t> parse_number_file(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto number = detail::to_number(text);
  if (!number) return detail::malformed("a number", text);
  return *number;
}

/// The number behind `key` in a file of "key number" lines; nothing if there is no such line.
/// @error CgroupFailed when the line is there but its number is malformed.
inline Result<std::optional<std::uint64_t>> parse_key(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = detail::take_until(text, '\n');
    if (detail::take_until(line, ' ') != key) continue;
    const auto number = detail::to_number(line);
    if (!number) return detail::malformed(key, line);
    return number;
  }
  return std::optional<std::uint64_t>{};
}

/// As `parse_key`, but the line must be there.
inline Result<std::uint64_t> require_key(std::string_view text, std::string_view key) {
  const auto number = parse_key(text, key);
  if (!number) return number.error();
  if (!*number) return detail::malformed(key, text);
  return **number;
}

struct CpuStat {
  std::uint64_t usage_us = 0;      ///< v2 only; v1 keeps it in cpuacct.usage.
  std::uint64_t throttled_us = 0;  ///< Summed over the CPUs on which the group was held back.
  std::uint64_t nr_throttled = 0;  ///< Periods in which the quota ran out.
};

/// cpu.stat of v1: nr_throttled, and throttled_time in nanoseconds.
inline Result<CpuStat> parse_cpu_stat_v1(std::string_view text) {
  const auto time = require_key(text, "throttled_time");
  if (!time) return time.error();
  const auto count = require_key(text, "nr_throttled");
  if (!count) return count.error();
  return CpuStat{0, *time / 1000, *count};
}

/// cpu.stat of v2. The throttling lines are missing, and then read as 0, where the cpu controller is not enabled.
inline Result<CpuStat> parse_cpu_stat_v2(std::string_view text) {
  const auto usage = require_key(text, "usage_usec");
  if (!usage) return usage.error();
  const auto time = parse_key(text, "throttled_usec");
  if (!time) return time.error();
  const auto count = parse_key(text, "nr_throttled");
  if (!count) return count.error();
  return CpuStat{*usage, time->value_or(0), count->value_or(0)};
}

/// Bytes of file cache that the kernel drops before anything else: memory.stat's inactive_file, on v1 the line that
/// counts the groups below as well.
inline Result<std::uint64_t> parse_inactive_file(std::string_view text) {
  const auto total = parse_key(text, "total_inactive_file");
  if (!total) return total.error();
  if (*total) return **total;
  return require_key(text, "inactive_file");
}

/// Processes killed for exceeding the limit: memory.events on v2, memory.oom_control on v1 (Linux 4.13 and later).
inline Result<std::uint64_t> parse_oom_kills(std::string_view text) {
  return require_key(text, "oom_kill");
}

/// cgroup.events: whether the group or one below it holds a live process.
inline Result<bool> parse_populated(std::string_view text) {
  const auto populated = require_key(text, "populated");
  if (!populated) return populated.error();
  return *populated != 0;
}

/// cgroup.procs. A process of a foreign pid namespace appears as 0.
inline Result<std::vector<pid_t>> parse_processes(std::string_view text) {
  std::vector<pid_t> processes;
  while (!text.empty()) {
    const auto line = detail::take_until(text, '\n');
    const auto number = detail::to_number(line);
    if (!number || *number > static_cast<std::uint64_t>(std::numeric_limits<pid_t>::max())) {
      return detail::malformed("a process id", line);
    }
    processes.push_back(static_cast<pid_t>(*number));
  }
  return processes;
}

/// One line of /proc/self/cgroup: the group that this process is in, in one hierarchy.
struct OwnGroup {
  std::uint64_t hierarchy = 0;  ///< 0 is v2.
  std::string controllers;      ///< Comma-separated; empty for v2.
  std::string path;             ///< Begins with '/'.
};

inline Result<std::vector<OwnGroup>> parse_own_groups(std::string_view text) {
  std::vector<OwnGroup> groups;
  while (!text.empty()) {
    const auto line = detail::take_until(text, '\n');
    auto rest = line;
    const auto hierarchy = detail::to_number(detail::take_until(rest, ':'));
    const auto controllers = detail::take_until(rest, ':');
    if (!hierarchy || !rest.starts_with('/')) return detail::malformed("/proc/self/cgroup", line);
    groups.push_back({*hierarchy, std::string(controllers), std::string(rest)});
  }
  return groups;
}

/// One mounted cgroup file system.
struct Mount {
  int version = 1;
  std::string root;         ///< The group that is visible at the mount point; "/" unless a container sees a part only.
  std::string mount_point;  ///< Absolute.
  std::string controllers;  ///< v1: comma-separated, among other mount options. Empty for v2.
};

namespace detail {
/// mountinfo writes blanks, tabs, newlines and backslashes as \ooo.
inline std::string unescape_mount(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    const auto digits = text.substr(i + 1, 3);
    if (text[i] == '\\' && digits.size() == 3 &&
        std::from_chars(digits.data(), digits.data() + 3, code, 8).ptr == digits.data() + 3 && code < 256) {
      plain.push_back(static_cast<char>(static_cast<unsigned char>(code)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}
}  // namespace detail

/// The cgroup mounts in /proc/self/mountinfo, in order.
inline Result<std::vector<Mount>> parse_mounts(std::string_view text) {
  std::vector<Mount> mounts;
  while (!text.empty()) {
    const auto line = detail::take_until(text, '\n');
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) return detail::malformed("/proc/self/mountinfo", line);
    auto behind = line.substr(dash + 3);
    const auto type = detail::take_until(behind, ' ');
    if (type != "cgroup" && type != "cgroup2") continue;
    detail::take_until(behind, ' ');  // the source says nothing
    auto front = line.substr(0, dash);
    for (int skip = 0; skip < 3; ++skip) detail::take_until(front, ' ');
    const auto root = detail::take_until(front, ' ');
    const auto mount_point = detail::take_until(front, ' ');
    if (!root.starts_with('/') || !mount_point.starts_with('/')) {
      return detail::malformed("/proc/self/mountinfo", line);
    }
    const bool v2 = type == "cgroup2";
    mounts.push_back({v2 ? 2 : 1, detail::unescape_mount(root), detail::unescape_mount(mount_point),
                      v2 ? std::string() : std::string(behind)});
  }
  return mounts;
}

/// What /proc/<pid>/stat says about the life of a process.
struct ProcessStat {
  char state = '?';
  std::uint64_t threads = 0;
  std::uint64_t start_time = 0;  ///< Clock ticks since boot: with the pid, it names a process for good.
};

inline Result<ProcessStat> parse_process_stat(std::string_view text) {
  // The second field is the program's name in parentheses, and may itself hold blanks and parentheses.
  const auto name_end = text.rfind(") ");
  if (name_end == std::string_view::npos) return detail::malformed("/proc/<pid>/stat", text);
  auto rest = text.substr(name_end + 2);
  const auto state = detail::take_until(rest, ' ');
  for (int field = 4; field < 20; ++field) detail::take_until(rest, ' ');
  const auto threads = detail::to_number(detail::take_until(rest, ' '));
  detail::take_until(rest, ' ');
  const auto start_time = detail::to_number(detail::take_until(rest, ' '));
  if (state.size() != 1 || !threads || !start_time) return detail::malformed("/proc/<pid>/stat", text);
  return ProcessStat{state.front(), *threads, *start_time};
}

}  // namespace amp4ec::cgroup
