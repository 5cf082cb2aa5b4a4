// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/kernel_text.hpp>
#include <amp4ec/core/error.hpp>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Parsers of what /proc says about groups, mounts and processes: a text becomes a value or an Error (CgroupFailed).
/// Formats: proc(5), cgroups(7).
namespace amp4ec::cgroup {

namespace files {
inline constexpr std::string_view own_groups = "proc/self/cgroup";
inline constexpr std::string_view mounts = "proc/self/mountinfo";
}  // namespace files

/// One line of /proc/self/cgroup: the group that this process is in, in one hierarchy.
struct OwnGroup {
  std::uint64_t hierarchy = 0;  ///< 0 is v2.
  std::string controllers;      ///< Comma-separated; empty for v2.
  std::string path;             ///< Begins with '/'.
};

inline Result<std::vector<OwnGroup>> parse_own_groups(std::string_view text) {
  std::vector<OwnGroup> groups;
  while (!text.empty()) {
    const auto line = detail::take_until(text, '\n');
    auto rest = line;
    const auto hierarchy = detail::to_number(detail::take_until(rest, ':'));
    const auto controllers = detail::take_until(rest, ':');
    if (!hierarchy || !rest.starts_with('/')) return detail::malformed("/proc/self/cgroup", line);
    groups.push_back({*hierarchy, std::string(controllers), std::string(rest)});
  }
  return groups;
}

/// One mounted cgroup file system.
struct Mount {
  int version = 1;
  std::string root;         ///< The group that is visible at the mount point; "/" unless a container sees a part only.
  std::string mount_point;  ///< Absolute.
  std::string controllers;  ///< v1: comma-separated, among other mount options. Empty for v2.
};

namespace detail {
/// mountinfo writes blanks, tabs, newlines and backslashes as \ooo.
inline std::string unescape_mount(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    const auto digits = text.substr(i + 1, 3);
    if (text[i] == '\\' && digits.size() == 3 &&
        std::from_chars(digits.data(), digits.data() + 3, code, 8).ptr == digits.data() + 3 && code < 256) {
      plain.push_back(static_cast<char>(static_cast<unsigned char>(code)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}
}  // namespace detail

/// The cgroup mounts in /proc/self/mountinfo, in order.
inline Result<std::vector<Mount>> parse_mounts(std::string_view text) {
  std::vector<Mount> mounts;
  while (!text.empty()) {
    const auto line = detail::take_until(text, '\n');
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) return detail::malformed("/proc/self/mountinfo", line);
    auto behind = line.substr(dash + 3);
    const auto type = detail::take_until(behind, ' ');
    if (type != "cgroup" && type != "cgroup2") continue;
    detail::take_until(behind, ' ');  // the source says nothing
    auto front = line.substr(0, dash);
    for (int skip = 0; skip < 3; ++skip) detail::take_until(front, ' ');
    const auto root = detail::take_until(front, ' ');
    const auto mount_point = detail::take_until(front, ' ');
    if (!root.starts_with('/') || !mount_point.starts_with('/')) {
      return detail::malformed("/proc/self/mountinfo", line);
    }
    const bool v2 = type == "cgroup2";
    mounts.push_back({v2 ? 2 : 1, detail::unescape_mount(root), detail::unescape_mount(mount_point),
                      v2 ? std::string() : std::string(behind)});
  }
  return mounts;
}

/// What /proc/<pid>/stat says about the life of a process.
struct ProcessStat {
  char state = '?';
  std::uint64_t threads = 0;
  std::uint64_t start_time = 0;  ///< Clock ticks since boot: with the pid, it names a process for good.
};

inline Result<ProcessStat> parse_process_stat(std::string_view text) {
  // The second field is the program's name in parentheses, and may itself hold blanks and parentheses.
  const auto name_end = text.rfind(") ");
  if (name_end == std::string_view::npos) return detail::malformed("/proc/<pid>/stat", text);
  auto rest = text.substr(name_end + 2);
  const auto state = detail::take_until(rest, ' ');
  for (int field = 4; field < 20; ++field) detail::take_until(rest, ' ');
  const auto threads = detail::to_number(detail::take_until(rest, ' '));
  detail::take_until(rest, ' ');
  const auto start_time = detail::to_number(detail::take_until(rest, ' '));
  if (state.size() != 1 || !threads || !start_time) return detail::malformed("/proc/<pid>/stat", text);
  return ProcessStat{state.front(), *threads, *start_time};
}

}  // namespace amp4ec::cgroup
