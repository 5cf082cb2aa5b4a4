// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/kernel_text.hpp>
#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

/// The kernel's file names, and parsers of their contents. Every parser takes text and returns a value or an Error
/// (CgroupFailed); none allocates unless it returns a list or fails. Formats: the kernel's
/// Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, Documentation/accounting/psi.rst.
namespace amp4ec::cgroup {

namespace files {
// both versions
inline constexpr std::string_view processes = "cgroup.procs";
inline constexpr std::string_view cpu_stat = "cpu.stat";
inline constexpr std::string_view memory_stat = "memory.stat";
inline constexpr std::string_view cpuset_cpus = "cpuset.cpus";
inline constexpr std::string_view pids_max = "pids.max";
// v2
inline constexpr std::string_view controllers = "cgroup.controllers";
inline constexpr std::string_view subtree_control = "cgroup.subtree_control";
inline constexpr std::string_view type = "cgroup.type";  ///< Every group but the real root has it.
inline constexpr std::string_view kill = "cgroup.kill";  ///< Linux 5.14 and later.
inline constexpr std::string_view events = "cgroup.events";
inline constexpr std::string_view freeze = "cgroup.freeze";    ///< Linux 5.2 and later.
inline constexpr std::string_view threads = "cgroup.threads";  ///< Thread ids.
inline constexpr std::string_view cpu_max = "cpu.max";
inline constexpr std::string_view cpu_max_burst = "cpu.max.burst";  ///< Linux 5.14 and later.
inline constexpr std::string_view cpu_weight = "cpu.weight";
inline constexpr std::string_view cpuset_cpus_effective = "cpuset.cpus.effective";
inline constexpr std::string_view memory_high = "memory.high";
inline constexpr std::string_view memory_max = "memory.max";
inline constexpr std::string_view memory_swap_max = "memory.swap.max";
inline constexpr std::string_view memory_current = "memory.current";
inline constexpr std::string_view memory_peak = "memory.peak";  ///< Linux 5.19 and later.
inline constexpr std::string_view memory_events = "memory.events";
inline constexpr std::string_view cpu_pressure = "cpu.pressure";  ///< These three in kernels built with PSI.
inline constexpr std::string_view memory_pressure = "memory.pressure";
inline constexpr std::string_view io_pressure = "io.pressure";
// v1
inline constexpr std::string_view cpu_quota = "cpu.cfs_quota_us";
inline constexpr std::string_view cpu_period = "cpu.cfs_period_us";
inline constexpr std::string_view cpu_burst = "cpu.cfs_burst_us";  ///< Linux 5.14 and later.
inline constexpr std::string_view cpu_shares = "cpu.shares";
inline constexpr std::string_view cpu_usage = "cpuacct.usage";
inline constexpr std::string_view cpuset_mems = "cpuset.mems";
inline constexpr std::string_view freezer_state = "freezer.state";
inline constexpr std::string_view tasks = "tasks";  ///< Thread ids.
inline constexpr std::string_view memory_soft_limit = "memory.soft_limit_in_bytes";
inline constexpr std::string_view memory_limit = "memory.limit_in_bytes";
inline constexpr std::string_view memory_swap_limit = "memory.memsw.limit_in_bytes";  ///< Memory plus swap.
inline constexpr std::string_view memory_usage = "memory.usage_in_bytes";
inline constexpr std::string_view memory_max_usage = "memory.max_usage_in_bytes";
inline constexpr std::string_view memory_oom_control = "memory.oom_control";
inline constexpr std::string_view memory_hierarchy = "memory.use_hierarchy";
}  // namespace files

/// One number and a newline: cpuacct.usage (ns), memory.current and its like (bytes).
inline Result<std::uint64_t> parse_number_file(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto number = detail::to_number(text);
  if (!number) return detail::malformed("a number", text);
  return *number;
}

/// One number or "max", and a newline: memory.max, pids.max and their like. Nothing for "max".
inline Result<std::optional<std::uint64_t>> parse_max_file(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text == "max") return std::optional<std::uint64_t>{};
  const auto number = detail::to_number(text);
  if (!number) return detail::malformed("a number or 'max'", text);
  return number;
}

/// A quota of CPU time in each period, in microseconds; 0 is no quota.
struct CpuMax {
  std::uint64_t quota_us = 0;
  std::uint64_t period_us = 0;
};

/// cpu.max: "<quota or max> <period>".
inline Result<CpuMax> parse_cpu_max(std::string_view text) {
  auto rest = text;
  const auto quota = parse_max_file(detail::take_until(rest, ' '));
  if (!quota) return quota.error();
  const auto period = parse_number_file(rest);
  if (!period) return period.error();
  if (*period == 0) return detail::malformed("a period", text);
  return CpuMax{quota->value_or(0), *period};
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

struct MemoryStat {
  std::uint64_t inactive_file = 0;  ///< Bytes of file cache that the kernel drops before anything else.
  std::uint64_t page_faults = 0;
  std::uint64_t major_page_faults = 0;
};

namespace detail {
/// On v1 the plain line counts this very group, "total_<key>" the groups below as well, as every line of v2 does.
inline Result<std::uint64_t> require_total(std::string_view text, std::string_view total_key) {
  const auto total = parse_key(text, total_key);
  if (!total) return total.error();
  if (*total) return **total;
  return require_key(text, total_key.substr(std::string_view("total_").size()));
}
}  // namespace detail

/// memory.stat, the groups below included.
inline Result<MemoryStat> parse_memory_stat(std::string_view text) {
  const auto inactive_file = detail::require_total(text, "total_inactive_file");
  if (!inactive_file) return inactive_file.error();
  const auto faults = detail::require_total(text, "total_pgfault");
  if (!faults) return faults.error();
  const auto major = detail::require_total(text, "total_pgmajfault");
  if (!major) return major.error();
  return MemoryStat{*inactive_file, *faults, *major};
}

/// cpu.pressure, memory.pressure, io.pressure: "some avg10=.. avg60=.. avg300=.. total=<us>" and a like line "full",
/// which reads as 0 where it is missing (for the CPU before Linux 5.13).
inline Result<Pressure> parse_pressure(std::string_view text) {
  std::optional<std::uint64_t> some;
  std::uint64_t full = 0;
  for (auto lines = text; !lines.empty();) {
    const auto line = detail::take_until(lines, '\n');
    auto rest = line;
    const auto kind = detail::take_until(rest, ' ');
    if (kind != "some" && kind != "full") continue;
    std::optional<std::uint64_t> total;
    while (!rest.empty() && !total) {
      auto word = detail::take_until(rest, ' ');
      if (detail::take_until(word, '=') == "total") total = detail::to_number(word);
    }
    if (!total) return detail::malformed("the total of a pressure", line);
    if (kind == "some") some = *total;
    if (kind == "full") full = *total;
  }
  if (!some) return detail::malformed("a pressure", text);
  const auto microseconds = [](std::uint64_t count) {
    return std::chrono::microseconds(static_cast<std::int64_t>(count));
  };
  return Pressure{microseconds(*some), microseconds(full)};
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

/// cgroup.events: whether all processes of the group and those below it are halted.
inline Result<bool> parse_frozen(std::string_view text) {
  const auto frozen = require_key(text, "frozen");
  if (!frozen) return frozen.error();
  return *frozen != 0;
}

/// freezer.state of v1: whether all processes of the group and those below it are halted.
inline Result<bool> parse_freezer_state(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text == "FROZEN") return true;
  if (text == "FREEZING" || text == "THAWED") return false;
  return detail::malformed("FROZEN, FREEZING or THAWED", text);
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

}  // namespace amp4ec::cgroup
