// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/cpu_limits.hpp>
#include <amp4ec/cgroup/detail/cpuset_limit.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/detail/memory_limits.hpp>

#include <fmt/format.h>

#include <mutex>
#include <string>
#include <vector>

/// Changing limits. Each kind of limit is a type with the same static members: `controller`, `same`, `copy`, `write`
/// (from any state of the kernel's files) and `read`.
namespace amp4ec::cgroup::detail {

struct PidsLimit {
  static constexpr Controller controller = Controller::Pids;

  static bool same(const Limits& a, const Limits& b) { return a.pids == b.pids; }
  static void copy(const Limits& from, Limits& to) { to.pids = from.pids; }
  static Result<void> write(const Place& place, const Limits& limits) {
    return place.write(files::pids_max, limits.pids > 0 ? fmt::to_string(limits.pids) : "max");
  }
  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto most = place.read(files::pids_max, parse_max_file);
    if (!most) return most.error();
    limits.pids = most->value_or(0);
    return {};
  }
};

inline const Tree* tree_of(const std::vector<Tree>& trees, Controller controller) noexcept {
  for (const auto& tree : trees) {
    if (tree.has(controller)) return &tree;
  }
  return nullptr;
}

/// Brings one kind of limit from `current` to `wanted`. After a failure the old one is in force again, or `current`
/// says what is.
template <class Limit>
Result<void> change_limit(Backend& backend, const std::vector<Tree>& trees, const std::string& group, Limits& current,
                          const Limits& wanted) {
  if (!Limit::same(current, wanted)) {
    const auto* tree = tree_of(trees, Limit::controller);
    if (tree == nullptr) {
      return Error{Errc::CgroupUnavailable,
                   fmt::format("the group {} has no '{}' controller to limit; see Hierarchy::check", group,
                               to_string(Limit::controller))};
    }
    const Place place{{*tree, group}, backend};
    if (place.v2()) {
      const auto handed_down = read_file(place.path(files::controllers));
      if (handed_down &&
          !has_word(handed_down->substr(0, handed_down->find('\n')), ' ', to_string(Limit::controller))) {
        auto& owned = owned_groups();
        const std::lock_guard lock(owned.mutex);
        if (auto handed = hand_down(backend, *tree, group, {Limit::controller}, owned); !handed) return handed;
      }
    }
    if (auto written = Limit::write(place, wanted); !written) {
      if (!Limit::write(place, current)) (void)Limit::read(place, current);
      return written;
    }
  }
  Limit::copy(wanted, current);
  return {};
}

template <class... Limit>
Result<void> change_each(Backend& backend, const std::vector<Tree>& trees, const std::string& group, Limits& current,
                         const Limits& wanted) {
  Result<void> changed;
  (void)((changed = change_limit<Limit>(backend, trees, group, current, wanted)).has_value() && ...);
  return changed;
}

/// Changes what differs between `current`, which is in force, and `wanted`, and keeps `current` true.
inline Result<void> change_limits(Backend& backend, const std::vector<Tree>& trees, const std::string& group,
                                  Limits& current, const Limits& wanted) {
  return change_each<QuotaLimit, WeightLimit, CpusetLimit, MemoryLimit, MemoryHighLimit, PidsLimit>(
      backend, trees, group, current, wanted);
}

/// As `change_limits`, for those that threads can be held to.
inline Result<void> change_cpu_limits(Backend& backend, const std::vector<Tree>& trees, const std::string& group,
                                      Limits& current, const Limits& wanted) {
  return change_each<QuotaLimit, WeightLimit>(backend, trees, group, current, wanted);
}

}  // namespace amp4ec::cgroup::detail
