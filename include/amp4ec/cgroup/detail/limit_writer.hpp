// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/limits.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::cgroup::detail {

inline Result<void> check_limits(const Limits& limits) {
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
  return {};
}

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

inline Result<void> write_cpu_limit(Backend& backend, const Tree& tree, const std::string& group,
                                    const Limits& limits) {
  const bool limited = limits.cpus.count > 0;
  const auto [quota, period] = limited ? cpu_quota(limits) : CpuQuota{0, limits.cpu_period.count()};
  if (tree.version == 2) {
    return backend.write(tree, group, files::cpu_max,
                         limited ? fmt::format("{} {}", quota, period) : fmt::format("max {}", period));
  }
  // The kernel checks the ratio after each write. Without a quota in between, a new period could be refused for a ratio
  // that nobody asked for.
  if (auto written = backend.write(tree, group, files::cpu_quota, "-1"); !written) return written;
  if (auto written = backend.write(tree, group, files::cpu_period, fmt::to_string(period)); !written) return written;
  if (!limited) return {};
  return backend.write(tree, group, files::cpu_quota, fmt::to_string(quota));
}

inline Result<void> write_memory_limit(Backend& backend, const Tree& tree, const std::string& group, Bytes memory) {
  const bool limited = memory.count > 0;
  const auto folder = tree.folder(group);
  if (tree.version == 2) {
    const auto value = limited ? fmt::to_string(memory.count) : std::string("max");
    if (auto written = backend.write(tree, group, files::memory_max, value); !written) return written;
    if (!exists(join(folder, files::memory_swap_max))) return {};  // a kernel without swap accounting
    return backend.write(tree, group, files::memory_swap_max, limited ? "0" : "max");
  }
  const auto value = limited ? fmt::to_string(memory.count) : std::string("-1");
  std::pair order{files::memory_limit, files::memory_swap_limit};
  const auto swap_text = read_file(join(folder, files::memory_swap_limit));
  if (!swap_text) return backend.write(tree, group, files::memory_limit, value);  // no swap accounting
  const auto swap_limit = parse_number_file(*swap_text);
  if (!swap_limit) return swap_limit.error();
  // memory <= memory plus swap must hold after every write: the outer limit goes first on the way up, last on the way
  // down.
  if (!limited || memory.count > *swap_limit) std::swap(order.first, order.second);
  if (auto written = backend.write(tree, group, order.first, value); !written) return written;
  return backend.write(tree, group, order.second, value);
}

}  // namespace amp4ec::cgroup::detail
