// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <chrono>
#include <cstdint>

namespace amp4ec::cgroup {

/// What a group has used, the groups below it included unless said otherwise: the fast tier, cheap enough to read every
/// 10 ms. What nothing in the hierarchy counts is 0, and said to be unknown.
struct Usage {
  std::chrono::microseconds cpu_time{};        ///< Since the group was created.
  std::chrono::microseconds throttled_time{};  ///< Held back by this group's own quota; summed over the CPUs.
  std::uint64_t nr_throttled = 0;              ///< Periods in which this group's own quota ran out.
  Bytes memory{};                              ///< Current use, file cache included; see `working_set`.
  bool cpu_known = true;                       ///< `cpu_time`. Where the other two are not counted, nothing throttles.
  bool memory_known = true;                    ///< `memory`.
};

/// How long tasks of a group waited for a resource since the group was created: the kernel's pressure stall
/// information (PSI). Zero where the kernel has none for the group.
struct Pressure {
  std::chrono::microseconds some{};  ///< At least one task waited.
  std::chrono::microseconds full{};  ///< All tasks that could have run waited.
};

/// What is dearer to read than `Usage` or of less use every 10 ms, the groups below included: the slow tier. What
/// nothing in the hierarchy counts is 0, and said to be unknown; pressure is told by v2 trees, on a hybrid machine too,
/// unless the kernel was started with psi=0.
struct UsageDetails {
  Bytes memory_peak{};  ///< Highest use, file cache included. v2 has it since Linux 5.19.

  /// Processes that the kernel killed for memory. v2 counts the groups below; v1 counts only the processes of this very
  /// group, so on v1 read the worker's group, not the node's, to learn why a worker died.
  std::uint64_t oom_kills = 0;

  Bytes inactive_file{};                ///< File cache that the kernel drops before anything else.
  std::uint64_t page_faults = 0;        ///< Since the group was created, major ones included.
  std::uint64_t major_page_faults = 0;  ///< Those that had to wait for a disk.
  Pressure cpu{};
  Pressure memory{};
  Pressure io{};
  bool memory_peak_known = true;
  bool oom_kills_known = true;
  bool memory_stat_known = true;  ///< `inactive_file` and the page faults.
  bool pressure_known = true;     ///< Of all three resources.
};

/// The memory that the group cannot give back at once: current use minus inactive file cache. The two readings may be
/// of different moments, so the difference is bounded below by 0.
constexpr Bytes working_set(const Usage& usage, Bytes inactive_file) noexcept {
  return Bytes{usage.memory > inactive_file ? usage.memory.count - inactive_file.count : 0};
}

}  // namespace amp4ec::cgroup
