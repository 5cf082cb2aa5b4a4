// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/bell.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>

namespace amp4ec::ipc {

namespace detail {
inline void relax_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
}  // namespace detail

/// Blocks until `ready()`: true then, false after `timeout`. Whoever makes `ready()` true rings `bell` afterwards.
///
/// No wake-up is lost: the bell is silenced *before* the state is looked at, so a change that the look misses rings a
/// bell that is silent, and the wait that follows returns at once. Looking first and silencing afterwards would swallow
/// exactly that ring. `ready` must look at everything that may ring this bell: all edges of a worker, not just one.
///
/// `spin` is how long to look without blocking first. It saves the cost of a wake-up (5 to 35 us) and burns CPU quota
/// meanwhile: leave it at 0 on nodes with less than one CPU. @error SystemCall.
template <std::predicate Ready>
Result<bool> wait_until(const Bell& bell, Ready ready, std::chrono::nanoseconds timeout,
                        std::chrono::nanoseconds spin = std::chrono::nanoseconds{0}) {
  using std::chrono::nanoseconds;
  using std::chrono::steady_clock;
  if (ready()) return true;  // the common case under load, without a system call
  const auto start = steady_clock::now();
  const auto spin_for = std::min(spin, timeout);
  while (steady_clock::now() - start < spin_for) {
    detail::relax_cpu();
    if (ready()) return true;
  }
  for (;;) {
    if (const auto drained = bell.drain(); !drained) return drained.error();
    if (ready()) return true;
    const nanoseconds left = timeout == forever ? forever : nanoseconds{timeout - (steady_clock::now() - start)};
    if (left <= nanoseconds{0}) return false;
    if (const auto rang = bell.wait(left); !rang) return rang.error();
  }
}

}  // namespace amp4ec::ipc
