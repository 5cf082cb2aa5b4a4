// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/kernel_text.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::cgroup {

/// Numbers of CPUs, as the kernel numbers them. Neither order nor repetition means anything.
using CpuList = std::vector<unsigned>;

/// No machine has a CPU of this number or a higher one.
inline constexpr unsigned cpu_number_end = 1U << 16U;

/// Sorted, each CPU once.
inline CpuList normalized(CpuList cpus) {
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

/// The kernel's way to write it: "0-2,5"; "" for none.
inline std::string format_cpu_list(const CpuList& cpus) {
  std::string text;
  const auto sorted = normalized(cpus);
  for (auto first = sorted.begin(); first != sorted.end();) {
    auto last = first;
    while (std::next(last) != sorted.end() && *std::next(last) == *last + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", *first);
    if (last != first) text += fmt::format("-{}", *last);
    first = std::next(last);
  }
  return text;
}

/// Reads "0-2,5", with or without the newline that the kernel puts behind. @error CgroupFailed for anything else.
inline Result<CpuList> parse_cpu_list(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  CpuList cpus;
  for (auto rest = text; !rest.empty();) {
    auto range = detail::take_until(rest, ',');
    const bool is_range = range.find('-') != std::string_view::npos;
    const auto first = detail::to_number(detail::take_until(range, '-'));
    const auto last = is_range ? detail::to_number(range) : first;
    if (!first || !last || *first > *last || *last >= cpu_number_end) return detail::malformed("a list of CPUs", text);
    for (auto cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<unsigned>(cpu));
  }
  if (text.ends_with(',')) return detail::malformed("a list of CPUs", text);
  return normalized(std::move(cpus));
}

}  // namespace amp4ec::cgroup
