// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/monitor/detail/group_meter.hpp>
#include <amp4ec/monitor/node_source.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

/// Sums over workers whose counters nobody vouches for: one that falls adds nothing, and no sum falls.
namespace amp4ec::detail {

/// Adds what a counter has grown by. Ends at the largest count that a signed number holds too.
inline void grow(std::uint64_t& sum, std::uint64_t now, std::uint64_t before) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  sum += std::min(growth(now, before), growth(most, sum));
}
inline void grow(Bytes& sum, std::uint64_t now, std::uint64_t before) noexcept {
  grow(sum.count, now, before);
}
inline void grow(std::chrono::nanoseconds& sum, std::uint64_t now, std::uint64_t before) noexcept {
  auto count = static_cast<std::uint64_t>(sum.count());
  grow(count, now, before);
  sum = std::chrono::nanoseconds(static_cast<std::int64_t>(count));
}

/// Adds what a worker has done between two readings of its counters.
inline void add_work(WorkerReading& sum, const ipc::WorkerStats& now, const ipc::WorkerStats& before) noexcept {
  grow(sum.requests_done, now.requests, before.requests);
  grow(sum.busy, now.busy_ns, before.busy_ns);
  grow(sum.ring_received, now.received_bytes, before.received_bytes);
  grow(sum.ring_sent, now.sent_bytes, before.sent_bytes);
}

}  // namespace amp4ec::detail
