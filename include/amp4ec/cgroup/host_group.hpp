// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
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
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

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

struct StaleSweep {
  Backend& backend;
  std::set<std::string> removed;
  std::optional<Error> failure;

  void run(const Tree& tree, const std::string& base, int depth) {
    static constexpr int deepest = 16;
    for (const auto& name : subfolders(tree.mount_point + base)) {
      const auto host = parse_host_group(name);
      if (host) {
        if (is_stale(*host)) remove(tree, base, name);
      } else if (depth < deepest) {
        run(tree, base + "/" + name, depth + 1);
      }
    }
  }

  void remove(Tree tree, const std::string& base, const std::string& group) {
    tree.base = base;
    if (!writable(tree.folder(""))) return;  // another user's; not ours to clean up
    const auto deadline = Clock::now() + std::chrono::seconds(5);
    auto gone = kill_until_empty(tree, group, deadline);
    if (gone) gone = remove_with_children(backend, tree, group, deadline);
    if (gone) {
      removed.insert(group);
    } else if (gone.error().code != Errc::PermissionDenied) {
      failure = gone.error();
    }
  }
};

}  // namespace detail

/// Kills and removes what hosts that have ended (crashed, killed) left behind, wherever in the hierarchy's trees it is.
/// Touches no group that `host_group_name` did not name, no group of a live host, of another pid namespace or of
/// another user. Returns how many hosts it cleaned up after. Blocks: a walk over all groups, up to 5 s for each
/// leftover.
/// @error CgroupFailed when a leftover could not be removed; the others have been.
inline Result<std::size_t> remove_stale_groups(const Hierarchy& hierarchy,
                                               const std::shared_ptr<Backend>& backend = native_backend()) {
  detail::StaleSweep sweep{*backend, {}, {}};
  for (const auto& tree : hierarchy.trees()) sweep.run(tree, "", 0);
  if (sweep.failure) return *sweep.failure;
  return sweep.removed.size();
}

}  // namespace amp4ec::cgroup
