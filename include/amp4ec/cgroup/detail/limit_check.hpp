// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/limits.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace amp4ec::cgroup::detail {

struct CpuQuota {
  std::int64_t quota_us;
  std::int64_t period_us;
};

/// The kernel grants at least 1 ms a period, so small quotas stretch the period.
inline CpuQuota cpu_quota(const Limits& limits) {
  const auto shortest = static_cast<std::int64_t>(std::ceil(1000 / limits.cpus.count));
  const auto period = std::min<std::int64_t>(std::max<std::int64_t>(limits.cpu_period.count(), shortest), 1'000'000);
  const auto quota = std::llround(limits.cpus.count * static_cast<double>(period));
  return {std::max<std::int64_t>(quota, 1000), period};
}

inline Result<void> check_cpu_limits(const Limits& limits) {
  const auto period = limits.cpu_period.count();
  if (period < 1'000 || period > 1'000'000) {
    return Error{Errc::InvalidArgument,
                 fmt::format("a CPU period of {} us is outside the kernel's 1 ms to 1 s", period)};
  }
  const auto cpus = limits.cpus.count;
  if (!std::isfinite(cpus) || cpus < 0 || cpus > 1e6 || (cpus > 0 && cpus < 0.001)) {
    return Error{Errc::InvalidArgument,
                 fmt::format("a CPU quota of {} is neither 0 (no limit) nor at least 0.001", cpus)};
  }
  const auto burst = limits.cpu_burst.count();
  const auto quota = cpus > 0 ? cpu_quota(limits).quota_us : 0;
  if (burst < 0 || burst > quota) {
    return Error{Errc::InvalidArgument,
                 fmt::format("a CPU burst of {} us is outside 0 to the quota of one period, here {} us", burst, quota)};
  }
  if (limits.cpu_weight > 10'000) {
    return Error{Errc::InvalidArgument,
                 fmt::format("a CPU weight of {} is neither 0 (the default) nor 1 to 10000", limits.cpu_weight)};
  }
  return {};
}

inline Result<void> check_limits(const Limits& limits) {
  if (auto valid = check_cpu_limits(limits); !valid) return valid;
  for (const auto cpu : limits.cpuset) {
    if (cpu >= cpu_number_end) return Error{Errc::InvalidArgument, fmt::format("there is no CPU {}", cpu)};
  }
  static constexpr std::uint64_t most_memory = std::uint64_t{1} << 62U;
  for (const auto amount : {limits.memory, limits.memory_high, limits.swap}) {
    if (amount.count >= most_memory) {
      return Error{Errc::InvalidArgument, fmt::format("{} bytes are no limit; write 0 for no limit", amount.count)};
    }
  }
  if (limits.swap.count > 0 && limits.memory.count == 0) {
    return Error{Errc::InvalidArgument, "swap comes on top of a memory limit, and there is none"};
  }
  // What the kernel makes of more differs with its build; no kernel has more process ids.
  static constexpr std::uint64_t most_pids = std::uint64_t{1} << 22U;
  if (limits.pids > most_pids) {
    return Error{Errc::InvalidArgument,
                 fmt::format("{} processes and threads are more than the kernel's {}", limits.pids, most_pids)};
  }
  return {};
}

/// The controllers without which the limits cannot be set.
inline std::vector<Controller> needed_controllers(const Limits& limits) {
  std::vector<Controller> needed;
  if (limits.cpus.count > 0 || limits.cpu_weight > 0) needed.push_back(Controller::Cpu);
  if (limits.memory.count > 0 || limits.memory_high.count > 0) needed.push_back(Controller::Memory);
  if (!limits.cpuset.empty()) needed.push_back(Controller::Cpuset);
  if (limits.pids > 0) needed.push_back(Controller::Pids);
  return needed;
}

}  // namespace amp4ec::cgroup::detail
