// SPDX-License-Identifier: Apache-2.0
// What still holds a worker where the kernel gives its node no group: fewer CPUs, a limit on the memory of its own.
#pragma once

#include <amp4ec/core/units.hpp>

#include <vector>

#include <sys/types.h>

namespace amp4ec::detail {

/// For each node the CPUs that its workers may run on: as many as its quota rounds up to, spread over those that this
/// process may use, so that nodes get CPUs of their own while there are enough. A quota of 0.4 is not held by that,
/// one of 2 is. @error SystemCall when the kernel does not say which CPUs this process may use.
Result<std::vector<std::vector<unsigned>>> share_cpus(const std::vector<Cpus>& quotas);

/// Pins a process and the threads that it will start. @error SystemCall.
Result<void> pin(pid_t process, const std::vector<unsigned>& cpus);

/// From now on this process may allocate so much, beyond what its libraries have mapped without using it
/// (RLIMIT_DATA): more makes the allocation fail. Holds the process, not what all workers of a node use together.
/// @error SystemCall.
Result<void> limit_own_memory(Bytes memory);

}  // namespace amp4ec::detail
