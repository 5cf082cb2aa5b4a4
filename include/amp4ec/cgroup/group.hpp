// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/detail/kill.hpp>
#include <amp4ec/cgroup/detail/limit_check.hpp>
#include <amp4ec/cgroup/detail/limit_writer.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/limits.hpp>
#include <amp4ec/cgroup/native_backend.hpp>
#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

namespace amp4ec::cgroup {

/// One control group: in every tree of the hierarchy that is writable a folder of the same name. Owns it: the
/// destructor kills what runs in the group and removes it, blocking up to 5 s; what it could not remove is found by
/// `remove_stale_groups`.
///
/// What is written outside of the group and its parents of our own: on v2, `cgroup.subtree_control` of the group that
/// these lie in (`Tree::base`), where it does not hand on yet what is needed: cpu, memory, and cpuset or pids for
/// limits of those. What this process has enabled there it disables when its last group goes, unless other groups lie
/// there then, which may have come to use it; a process that is killed does not.
///
/// Layout: `<host group>/<node>/<worker>`. Limits sit on the node's group; a worker's group is for attaching,
/// accounting and killing. Attach to the lowest groups only: v2 refuses processes beside limited groups.
/// In a forked child the object is inert: only the process that made the group removes it.
///
/// Thread-safety: `attach`, `read`, `read_details` and `processes` may run at once from several threads; all else needs
/// exclusion.
class Group {
 public:
  static constexpr std::chrono::milliseconds default_timeout{5000};

  /// Makes the group, its missing parents, and sets its limits. The path begins with "amp4ec-", see `host_group_name`;
  /// its components hold letters, digits, '.', '_' and '-'. Parents made in passing go with their last child; make a
  /// parent that needs an object of its own first. Pass `default_backend(hierarchy)` to work through libcgroup.
  /// @error InvalidArgument for the path or the limits, CgroupUnavailable and PermissionDenied when the hierarchy
  /// cannot serve a limit (try again without it), CgroupFailed when the group exists or the kernel refuses. Nothing is
  /// left.
  static Result<Group> create(const Hierarchy& hierarchy, const std::string& path, const Limits& limits = {},
                              std::shared_ptr<Backend> backend = native_backend()) {
    if (auto valid = detail::check_path(path); !valid) return valid.error();
    if (auto valid = detail::check_limits(limits); !valid) return valid.error();
    if (auto usable = hierarchy.check_create(); !usable) return usable.error();
    const auto needed = detail::needed_controllers(limits);
    for (const auto controller : needed) {
      if (auto usable = hierarchy.check(controller); !usable) return usable.error();
    }
    Group group;
    group.path_ = path;
    group.backend_ = std::move(backend);
    group.owner_ = ::getpid();
    if (auto made = group.make_folders(hierarchy, needed); !made) return made.error();
    // From here on, a failure ends in the destructor, which removes the folders.
    if (auto set = group.set_limits(limits); !set) return set.error();
    for (const auto& tree : group.trees_) {
      if (auto opened = group.counters_.open(tree, path); !opened) return opened.error();
    }
    return group;
  }

  Group(Group&& other) noexcept { swap(other); }
  Group& operator=(Group&& other) noexcept {
    Group old(std::move(*this));
    swap(other);
    return *this;
  }
  ~Group() {
    if (owner_ == ::getpid()) (void)remove();
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The limits in force.
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }

  /// Whether there is a tree in which the group can have limits of this controller, or be counted; for `Freezer`,
  /// whether `freeze` has something to work with. A single limit may still be unknown to an older kernel.
  [[nodiscard]] bool has(Controller controller) const {
    if (controller == Controller::Freezer) return freezer() != nullptr;
    return detail::tree_of(trees_, controller) != nullptr;
  }

  /// Changes what differs from `limits()`, while workers run. Lowering memory below what is in use makes the kernel
  /// reclaim; where it cannot, v1 refuses and v2 kills. On v1 the quota is off for an instant, since the kernel checks
  /// each single write. A narrower list of CPUs narrows the groups below; a wider one widens them again.
  /// @error as of `create`; then the limits that were not changed yet are as before, and `limits()` says what holds.
  Result<void> set_limits(const Limits& limits) {
    if (trees_.empty()) return removed();
    if (auto valid = detail::check_limits(limits); !valid) return valid;
    return detail::change_limits(*backend_, trees_, path_, limits_, limits);
  }

  /// Moves a process with all its threads into the group. What it has allocated before stays charged to its old group.
  /// The first move into a group can take 12 ms.
  Result<void> attach(pid_t process) {
    if (process <= 0) return Error{Errc::InvalidArgument, fmt::format("{} is not a process id", process)};
    if (trees_.empty()) return removed();
    for (const auto& tree : trees_) {
      if (auto attached = backend_->attach(tree, path_, process); !attached) return attached;
    }
    return {};
  }

  /// The processes in the group and in the groups below it.
  [[nodiscard]] Result<std::vector<pid_t>> processes() const {
    if (trees_.empty()) return removed();
    return detail::processes_below(trees_.front().folder(path_));
  }

  /// Kills every process in the group and below it, newly forked ones included, and waits until the kernel calls the
  /// group empty. Zombies do not count: reaping is the parent's task. @error CgroupFailed after the timeout, or when
  /// the calling process is in the group.
  Result<void> kill_all(std::chrono::milliseconds timeout = default_timeout) const {
    if (trees_.empty()) return {};  // Removed, or moved from: nothing runs in it.
    const auto deadline = detail::Clock::now() + timeout;
    return detail::kill_until_empty(*backend_, trees_, path_, deadline);
  }

  /// Halts every process in the group and below it, and waits until the kernel says that all are halted. A frozen group
  /// can be killed and removed. @error CgroupFailed after the timeout, when the group runs again, or when the calling
  /// process is in the group; CgroupUnavailable where there is neither a v2 tree (Linux 5.2) nor v1's freezer.
  Result<void> freeze(std::chrono::milliseconds timeout = default_timeout) const { return set_frozen(true, timeout); }

  /// Lets a frozen group run again, and waits until the kernel says so.
  Result<void> thaw(std::chrono::milliseconds timeout = default_timeout) const { return set_frozen(false, timeout); }

  /// What the group has used; about 5 us of CPU and no allocation. @error CgroupFailed when the group has been
  /// removed.
  [[nodiscard]] Result<Usage> read() const {
    if (trees_.empty()) return removed();
    return counters_.read();
  }

  /// File cache that the kernel drops before anything else; 5 to 12 us of CPU and no allocation. 0 where nothing counts
  /// it. @error CgroupFailed when the group has been removed.
  [[nodiscard]] Result<Bytes> read_inactive_file() const {
    if (trees_.empty()) return removed();
    return counters_.read_inactive_file();
  }

  /// What costs more to tell; 10 to 20 us of CPU and no allocation. @error CgroupFailed when the group has been
  /// removed.
  [[nodiscard]] Result<UsageDetails> read_details() const {
    if (trees_.empty()) return removed();
    return counters_.read_details();
  }

  /// Kills, waits, then removes the group and the groups below it. Without effect on a group that is removed already.
  /// @error CgroupFailed or PermissionDenied when something is left; may be called again.
  Result<void> remove(std::chrono::milliseconds timeout = default_timeout) {
    if (trees_.empty()) return {};
    if (owner_ != ::getpid()) {
      return Error{Errc::InvalidArgument, fmt::format("the group {} belongs to process {}", path_, owner_)};
    }
    if (auto killed = kill_all(timeout); !killed) return killed;
    const auto deadline = detail::Clock::now() + timeout;
    auto& owned = detail::owned_groups();
    const std::lock_guard lock(owned.mutex);
    while (!trees_.empty()) {
      const auto& tree = trees_.back();
      if (auto gone = detail::remove_with_children(*backend_, tree, path_, deadline); !gone) return gone;
      owned.folders.erase(tree.folder(path_));
      owned.cpus.erase(tree.folder(path_));
      detail::remove_unowned_parents(*backend_, tree, path_, owned);
      trees_.pop_back();
    }
    counters_ = {};
    return {};
  }

 private:
  Group() = default;

  void swap(Group& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(backend_, other.backend_);
    std::swap(owner_, other.owner_);
    std::swap(trees_, other.trees_);
    std::swap(limits_, other.limits_);
    std::swap(counters_, other.counters_);
  }

  Result<void> set_frozen(bool frozen, std::chrono::milliseconds timeout) const {
    if (trees_.empty()) return removed();
    const auto deadline = detail::Clock::now() + timeout;
    if (const Tree* tree = freezer()) return detail::set_frozen(*backend_, *tree, path_, frozen, deadline);
    return Error{
        Errc::CgroupUnavailable,
        fmt::format("the group {} cannot be frozen: mount v2 (Linux 5.2 or later) or v1's freezer writable", path_)};
  }

  /// The tree that halts the group, v2's where it can; null without one.
  [[nodiscard]] const Tree* freezer() const {
    const Tree* v1 = nullptr;
    for (const auto& tree : trees_) {
      if (tree.version == 2 && detail::exists(detail::join(tree.folder(path_), files::freeze))) return &tree;
      if (tree.version == 1 && tree.has(Controller::Freezer)) v1 = &tree;
    }
    return v1;
  }

  /// Fills `trees_` with the trees in which there is something to remove.
  Result<void> make_folders(const Hierarchy& hierarchy, const std::vector<Controller>& needed) {
    auto& owned = detail::owned_groups();
    const std::lock_guard lock(owned.mutex);
    for (const auto& tree : hierarchy.trees()) {
      if (!tree.refusal && detail::exists(tree.folder(path_))) {
        return Error{Errc::CgroupFailed,
                     fmt::format("the group {} is there already; choose another name", tree.folder(path_))};
      }
    }
    std::vector<Controller> controllers{Controller::Cpu, Controller::Memory};
    for (const auto controller : needed) {
      if (controller != Controller::Cpu && controller != Controller::Memory) controllers.push_back(controller);
    }
    for (const auto& tree : hierarchy.trees()) {
      if (tree.refusal) continue;
      if (auto made = detail::create_with_parents(*backend_, tree, path_, controllers, owned); !made) {
        // The destructor must not wait for the lock that we hold, nor may half a tree stay behind.
        (void)backend_->remove(tree, path_);
        detail::remove_unowned_parents(*backend_, tree, path_, owned);
        if (is_essential(tree, needed)) return made;
        continue;
      }
      trees_.push_back(tree);
      owned.folders.insert(tree.folder(path_));
    }
    return {};
  }

  /// What has no limit to hold is left out where it cannot be made: a group without a freezer is still a group.
  static bool is_essential(const Tree& tree, const std::vector<Controller>& needed) {
    const auto has = [&](Controller controller) { return tree.has(controller); };
    return has(Controller::Cpu) || has(Controller::CpuAccounting) || has(Controller::Memory) ||
           std::any_of(needed.begin(), needed.end(), has);
  }

  [[nodiscard]] Error removed() const {
    return Error{Errc::CgroupFailed, fmt::format("the group {} has been removed or moved from", path_)};
  }

  std::string path_;
  std::shared_ptr<Backend> backend_;
  pid_t owner_ = 0;
  std::vector<Tree> trees_;  ///< Empty when there is nothing to own.
  Limits limits_;
  detail::Counters counters_;
};

}  // namespace amp4ec::cgroup
