// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/detail/kill.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/native_backend.hpp>
#include <amp4ec/cgroup/proc_files.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace amp4ec::cgroup {

/// Who made a host group: "amp4ec-<pid>-<start time>", and "-<pid namespace>" outside the initial one, since a pid
/// means nothing in another namespace. The start time (clock ticks since boot) tells a process from a later one of its
/// pid.
struct HostIdentity {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  std::uint64_t pid_namespace = initial_namespace;

  static constexpr std::uint64_t initial_namespace = 0xEFFFFFFC;  ///< The kernel's PROC_PID_INIT_INO.

  bool operator==(const HostIdentity&) const = default;
};

inline std::string host_group_name(const HostIdentity& host) {
  const auto name = fmt::format("amp4ec-{}-{}", host.pid, host.start_time);
  return host.pid_namespace == HostIdentity::initial_namespace ? name : fmt::format("{}-{}", name, host.pid_namespace);
}

/// The name of the group that holds the groups for a host's threads. Not the other one's name: v2 does not mix groups
/// for threads and groups for processes.
inline std::string thread_group_name(const HostIdentity& host) {
  return fmt::format("amp4ec-threads{}", host_group_name(host).substr(std::string_view("amp4ec").size()));
}

/// Nothing for a name that `host_group_name` did not make.
inline std::optional<HostIdentity> parse_host_group(std::string_view name) {
  auto rest = name;
  if (detail::take_until(rest, '-') != "amp4ec") return std::nullopt;
  const auto pid = detail::to_number(detail::take_until(rest, '-'));
  const auto start_time = detail::to_number(detail::take_until(rest, '-'));
  const auto pid_namespace = rest.empty() ? HostIdentity::initial_namespace : detail::to_number(rest);
  if (!pid || !start_time || !pid_namespace || *pid == 0 || *pid > std::numeric_limits<pid_t>::max())
    return std::nullopt;
  const HostIdentity host{static_cast<pid_t>(*pid), *start_time, *pid_namespace};
  if (host_group_name(host) != name) return std::nullopt;
  return host;
}

/// Nothing for a name that `thread_group_name` did not make.
inline std::optional<HostIdentity> parse_thread_group(std::string_view name) {
  static constexpr std::string_view prefix = "amp4ec-threads-";
  if (!name.starts_with(prefix)) return std::nullopt;
  return parse_host_group(fmt::format("amp4ec-{}", name.substr(prefix.size())));
}

/// The calling process. @error CgroupUnavailable or CgroupFailed when /proc cannot be read.
inline Result<HostIdentity> this_host() {
  const auto text = detail::read_file("/proc/self/stat");
  if (!text) return text.error();
  const auto stat = parse_process_stat(*text);
  if (!stat) return stat.error();
  struct stat pid_namespace {};
  if (::stat("/proc/self/ns/pid", &pid_namespace) != 0) return detail::system_error(errno, "reading /proc/self/ns/pid");
  return HostIdentity{::getpid(), stat->start_time, pid_namespace.st_ino};
}

/// The name of the group that holds all groups of the calling process. Not the same in a forked child.
inline Result<std::string> host_group_name() {
  const auto host = this_host();
  if (!host) return host.error();
  return host_group_name(*host);
}

/// The name of the group that holds all groups for threads of the calling process.
inline Result<std::string> thread_group_name() {
  const auto host = this_host();
  if (!host) return host.error();
  return thread_group_name(*host);
}

/// Whether the process that made the group has ended. False in doubt, and for hosts of other pid namespaces.
inline bool is_stale(const HostIdentity& host) {
  const auto self = this_host();
  if (!self || host.pid_namespace != self->pid_namespace) return false;
  const auto text = detail::read_file(fmt::format("/proc/{}/stat", host.pid));
  // /proc may hide the processes of other users; the kernel still tells whether the pid is taken.
  if (!text) return ::kill(host.pid, 0) != 0 && errno == ESRCH;
  const auto stat = parse_process_stat(*text);
  if (!stat) return false;
  if (stat->start_time != host.start_time) return true;
  // A main thread may end before the others: then the zombie still has more than one thread.
  return (stat->state == 'Z' || stat->state == 'X') && stat->threads <= 1;
}

namespace detail {

/// Adds the trees, based where the leftover lies, to the names of the hosts that have ended.
inline void find_stale_groups(const Tree& tree, const std::string& base,
                              std::map<std::string, std::vector<Tree>>& found, int depth = 0) {
  static constexpr int deepest = 16;
  for (const auto& name : subfolders(tree.mount_point + base)) {
    const auto host = name.starts_with("amp4ec-threads-") ? parse_thread_group(name) : parse_host_group(name);
    if (host) {
      auto place = tree;
      place.base = base;
      // Another user's are not ours to clean up.
      if (is_stale(*host) && writable(place.folder(""))) found[name].push_back(std::move(place));
    } else if (depth < deepest) {
      find_stale_groups(tree, base + "/" + name, found, depth + 1);
    }
  }
}

/// Whether a group for threads, or one below it, holds some.
inline bool has_threads(const std::vector<Tree>& trees, const std::string& group) {
  for (const auto& tree : trees) {
    const auto text = read_file(join(tree.folder(group), tree.version == 2 ? files::threads : files::tasks));
    if (text && !text->empty()) return true;
    for (const auto& name : subfolders(tree.folder(group))) {
      if (has_threads({tree}, join(group, name))) return true;
    }
  }
  return false;
}

inline Result<void> remove_stale_group(Backend& backend, const std::vector<Tree>& trees, const std::string& group) {
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  Result<void> gone;
  if (!parse_thread_group(group)) gone = kill_until_empty(backend, trees, group, deadline);
  for (const auto& tree : trees) {
    if (gone) gone = remove_with_children(backend, tree, group, deadline);
  }
  return gone;
}

}  // namespace detail

/// Kills and removes what hosts that have ended (crashed, killed) left behind, wherever in the hierarchy's trees it is.
/// Touches no group that `host_group_name` or `thread_group_name` did not name, no group of a live host, of another pid
/// namespace or of another user. Returns how many hosts it cleaned up after. Blocks: a walk over all groups, up to 5 s
/// for each leftover.
/// @error CgroupFailed when a leftover could not be removed; the others have been.
inline Result<std::size_t> remove_stale_groups(const Hierarchy& hierarchy,
                                               const std::shared_ptr<Backend>& backend = native_backend()) {
  std::map<std::string, std::vector<Tree>> stale;
  for (const auto& tree : hierarchy.trees()) detail::find_stale_groups(tree, "", stale);
  std::set<std::string> hosts;
  std::optional<Error> failure;
  for (const auto& [group, trees] : stale) {
    const auto of_threads = parse_thread_group(group);
    // Children of a host's threads are no workers of ours to kill; their group stays until they have ended.
    if (of_threads && detail::has_threads(trees, group)) continue;
    if (auto gone = detail::remove_stale_group(*backend, trees, group); gone) {
      hosts.insert(of_threads ? host_group_name(*of_threads) : group);
    } else if (gone.error().code != Errc::PermissionDenied) {
      failure = gone.error();
    }
  }
  if (failure) return *failure;
  return hosts.size();
}

}  // namespace amp4ec::cgroup
