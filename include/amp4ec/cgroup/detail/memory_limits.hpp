// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/limits.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::cgroup::detail {

/// v1 writes "no limit" as -1, and shows it as the largest number of pages, in bytes.
inline std::string memory_value(const Place& place, std::uint64_t bytes) {
  if (bytes > 0) return fmt::to_string(bytes);
  return place.v2() ? "max" : "-1";
}

/// 0 for no limit.
inline Result<Bytes> read_memory_value(const GroupFolder& place, std::string_view file) {
  static constexpr std::uint64_t no_limit_v1 = std::uint64_t{1} << 62U;
  const auto value = place.read(file, parse_max_file);
  if (!value) return value.error();
  return Bytes{*value && **value < no_limit_v1 ? **value : 0};
}

/// Memory, and the swap on top of it.
struct MemoryLimit {
  static constexpr Controller controller = Controller::Memory;

  static bool same(const Limits& a, const Limits& b) { return a.memory == b.memory && a.swap == b.swap; }
  static void copy(const Limits& from, Limits& to) {
    to.memory = from.memory;
    to.swap = from.swap;
  }

  static Result<void> write(const Place& place, const Limits& limits) {
    const bool limited = limits.memory.count > 0;
    const auto memory = memory_value(place, limits.memory.count);
    const auto swap_file = place.path(place.v2() ? files::memory_swap_max : files::memory_swap_limit);
    const bool counts_swap = exists(swap_file);
    if (!counts_swap && limits.swap.count > 0) {
      return Error{Errc::CgroupUnavailable,
                   fmt::format("swap cannot be limited: this kernel has no {}; boot it with swapaccount=1", swap_file)};
    }
    if (place.v2()) {
      if (!counts_swap) return place.write(files::memory_max, memory);
      return write_v2(place, limits);
    }
    if (!counts_swap) return place.write(files::memory_limit, memory);
    const auto both = limits.memory + limits.swap;
    const auto both_text = read_file(swap_file);
    if (!both_text) return both_text.error();
    const auto both_now = parse_number_file(*both_text);
    if (!both_now) return both_now.error();
    // memory <= memory plus swap must hold after every write: the outer limit goes first on the way up, last on the way
    // down.
    std::pair first{files::memory_limit, memory};
    std::pair second{files::memory_swap_limit, memory_value(place, both.count)};
    if (!limited || limits.memory.count > *both_now) std::swap(first, second);
    if (auto written = place.write(first.first, first.second); !written) return written;
    return place.write(second.first, second.second);
  }

  /// Swap first: a lower memory limit would push pages into swap that is about to be refused. Only where memory grows
  /// while swap shrinks, memory goes first, so that the group never has less than before and after.
  static Result<void> write_v2(const Place& place, const Limits& limits) {
    Limits now;
    if (auto known = read(place, now); !known) return known;
    const bool limited = limits.memory.count > 0;
    const bool grows = now.memory.count > 0 && (!limited || limits.memory > now.memory);
    const bool swap_shrinks = limited && limits.swap < now.swap;
    std::pair first{files::memory_swap_max, limited ? fmt::to_string(limits.swap.count) : std::string("max")};
    std::pair second{files::memory_max, memory_value(place, limits.memory.count)};
    if (grows && swap_shrinks) std::swap(first, second);
    if (auto written = place.write(first.first, first.second); !written) return written;
    return place.write(second.first, second.second);
  }

  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto memory = read_memory_value(place, place.v2() ? files::memory_max : files::memory_limit);
    if (!memory) return memory.error();
    limits.memory = *memory;
    limits.swap = {};
    if (memory->count == 0) return {};
    const auto swap = read_memory_value(place, place.v2() ? files::memory_swap_max : files::memory_swap_limit);
    if (!swap) return {};  // no swap accounting
    if (place.v2()) limits.swap = *swap;
    if (!place.v2() && *swap > *memory) limits.swap = Bytes{swap->count - memory->count};
    return {};
  }
};

struct MemoryHighLimit {
  static constexpr Controller controller = Controller::Memory;

  static bool same(const Limits& a, const Limits& b) { return a.memory_high == b.memory_high; }
  static void copy(const Limits& from, Limits& to) { to.memory_high = from.memory_high; }
  static std::string_view file(const GroupFolder& place) {
    return place.v2() ? files::memory_high : files::memory_soft_limit;
  }
  static Result<void> write(const Place& place, const Limits& limits) {
    return place.write(file(place), memory_value(place, limits.memory_high.count));
  }
  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto high = read_memory_value(place, file(place));
    if (!high) return high.error();
    limits.memory_high = *high;
    return {};
  }
};

}  // namespace amp4ec::cgroup::detail
