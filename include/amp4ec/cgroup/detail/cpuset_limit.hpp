// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/cpu_list.hpp>
#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/limits.hpp>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <string>

namespace amp4ec::cgroup::detail {

/// The CPUs of a group. v2 keeps what a group asks for apart from what it gets, so groups below follow those above by
/// themselves. v1 has one list a group, which must lie within the list above it: here we make the groups below follow.
struct CpusetLimit {
  static constexpr Controller controller = Controller::Cpuset;

  static bool same(const Limits& a, const Limits& b) { return normalized(a.cpuset) == normalized(b.cpuset); }
  static void copy(const Limits& from, Limits& to) { to.cpuset = from.cpuset; }

  static Result<void> write(const Place& place, const Limits& limits) {
    const auto offered = offered_by_parent(place);
    if (!offered) return offered.error();
    const auto wanted = normalized(limits.cpuset);
    if (!std::includes(offered->begin(), offered->end(), wanted.begin(), wanted.end())) {
      return Error{Errc::InvalidArgument,
                   fmt::format("the CPUs {} are not all among {}, which is what the group above {} may use",
                               format_cpu_list(wanted), format_cpu_list(*offered), place.tree.folder(place.group))};
    }
    if (place.v2()) {
      // An empty write would not reach the kernel.
      return place.write(files::cpuset_cpus, wanted.empty() ? "\n" : format_cpu_list(wanted));
    }
    auto& owned = owned_groups();
    const std::lock_guard lock(owned.mutex);  // no group below may be made meanwhile
    if (auto set = write_v1(place, wanted.empty() ? *offered : wanted, owned); !set) return set;
    const auto folder = place.tree.folder(place.group);
    wanted.empty() ? void(owned.cpus.erase(folder)) : void(owned.cpus.insert_or_assign(folder, wanted));
    return {};
  }

  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto cpus = place.read(files::cpuset_cpus, parse_cpu_list);
    if (!cpus) return cpus.error();
    limits.cpuset = *cpus;
    if (place.v2()) return {};
    const auto offered = offered_by_parent(place);
    if (offered && *offered == *cpus) limits.cpuset.clear();
    return {};
  }

 private:
  static Result<CpuList> offered_by_parent(const GroupFolder& place) {
    const auto parent = parent_group(place.group);
    return GroupFolder{place.tree, parent}.read(place.v2() ? files::cpuset_cpus_effective : files::cpuset_cpus,
                                                parse_cpu_list);
  }

  /// First the union of old and new, then the groups below, then the new list: each write keeps every list within the
  /// one above it.
  static Result<void> write_v1(const Place& place, const CpuList& wanted, const OwnedGroups& owned) {
    const auto now = place.read(files::cpuset_cpus, parse_cpu_list);
    if (!now) return now.error();
    const auto below = subfolders(place.tree.folder(place.group));
    auto widest = *now;
    if (!below.empty()) {
      widest.insert(widest.end(), wanted.begin(), wanted.end());
      widest = normalized(std::move(widest));
      if (widest != *now) {
        if (auto written = place.write(files::cpuset_cpus, format_cpu_list(widest)); !written) return written;
      }
    }
    for (const auto& name : below) {
      const auto child = join(place.group, name);
      const Place child_place{{place.tree, child}, place.backend};
      if (auto set = write_v1(child_place, share_of(place.tree.folder(child), wanted, owned), owned); !set) return set;
    }
    if (widest == wanted) return {};
    return place.write(files::cpuset_cpus, format_cpu_list(wanted));
  }

  /// What v2 would give a group: of the CPUs it asked for those that are offered; where there are none, all offered.
  static CpuList share_of(const std::string& folder, const CpuList& offered, const OwnedGroups& owned) {
    const auto asked = owned.cpus.find(folder);
    if (asked == owned.cpus.end()) return offered;
    CpuList share;
    std::set_intersection(asked->second.begin(), asked->second.end(), offered.begin(), offered.end(),
                          std::back_inserter(share));
    return share.empty() ? offered : share;
  }
};

}  // namespace amp4ec::cgroup::detail
