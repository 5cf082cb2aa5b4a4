// SPDX-License-Identifier: Apache-2.0
#include "runtime/ungrouped_limits.hpp"

#include "runtime/worker_process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace amp4ec::detail {

Result<std::vector<std::vector<unsigned>>> share_cpus(const std::vector<Cpus>& quotas) {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof(mine), &mine) != 0)
    return Error{Errc::SystemCall, fmt::format("sched_getaffinity: {}", std::strerror(errno))};
  std::vector<unsigned> usable;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mine)) usable.push_back(cpu);
  }
  std::vector<std::vector<unsigned>> shares;
  std::size_t next = 0;
  for (const Cpus quota : quotas) {
    const double wanted = std::clamp(std::ceil(quota.count), 1.0, static_cast<double>(usable.size()));
    std::vector<unsigned>& share = shares.emplace_back();
    for (auto left = static_cast<std::size_t>(wanted); left > 0; --left)
      share.push_back(usable[next++ % usable.size()]);
  }
  return shares;
}

Result<void> pin(pid_t process, const std::vector<unsigned>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const unsigned cpu : cpus) CPU_SET(cpu, &set);
  if (sched_setaffinity(process, sizeof(set), &set) != 0)
    return Error{Errc::SystemCall, fmt::format("pinning process {} to its CPUs: {}", process, std::strerror(errno))};
  return {};
}

Result<void> limit_own_memory(Bytes memory) {
  const ResidentMemory used = resident_memory(getpid());
  const std::uint64_t unused = used.data.count - std::min(used.data.count, used.anonymous.count);
  rlimit limit{};
  if (getrlimit(RLIMIT_DATA, &limit) == 0) {
    limit.rlim_cur = std::min<rlim_t>(memory.count + unused, limit.rlim_max);
    if (setrlimit(RLIMIT_DATA, &limit) == 0) return {};
  }
  return Error{Errc::SystemCall, fmt::format("limiting the worker's memory (RLIMIT_DATA): {}", std::strerror(errno))};
}

}  // namespace amp4ec::detail
