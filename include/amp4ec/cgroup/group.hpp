// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/detail/limit_writer.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/limits.hpp>
#include <amp4ec/cgroup/native_backend.hpp>
#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

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

/// One control group: in every tree of the hierarchy a folder of the same name. Owns it: the destructor kills what runs
/// in the group and removes it, blocking up to 5 s; what it could not remove is found by `remove_stale_groups`.
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
    if (auto valid = check_path(path); !valid) return valid.error();
    if (auto valid = detail::check_limits(limits); !valid) return valid.error();
    if (auto usable = hierarchy.check_create(); !usable) return usable.error();
    if (limits.cpus.count > 0) {
      if (auto usable = hierarchy.check(Controller::Cpu); !usable) return usable.error();
    }
    if (limits.memory.count > 0) {
      if (auto usable = hierarchy.check(Controller::Memory); !usable) return usable.error();
    }
    Group group;
    group.path_ = path;
    group.backend_ = std::move(backend);
    group.owner_ = ::getpid();
    if (auto made = group.make_folders(hierarchy); !made) return made.error();
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

  /// Changes what differs from `limits()`. Lowering memory below what is in use makes the kernel reclaim; where it
  /// cannot, v1 refuses and v2 kills. On v1 the quota is off for an instant, since the kernel checks each single write.
  Result<void> set_limits(const Limits& limits) {
    if (auto valid = detail::check_limits(limits); !valid) return valid;
    if (limits.cpus != limits_.cpus || (limits.cpus.count > 0 && limits.cpu_period != limits_.cpu_period)) {
      const auto* tree = tree_of(Controller::Cpu);
      if (tree == nullptr) return missing(Controller::Cpu);
      if (auto set = detail::write_cpu_limit(*backend_, *tree, path_, limits); !set) return set;
    }
    limits_.cpus = limits.cpus;
    limits_.cpu_period = limits.cpu_period;
    if (limits.memory != limits_.memory) {
      const auto* tree = tree_of(Controller::Memory);
      if (tree == nullptr) return missing(Controller::Memory);
      if (auto set = detail::write_memory_limit(*backend_, *tree, path_, limits.memory); !set) return set;
    }
    limits_.memory = limits.memory;
    return {};
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
    const auto deadline = detail::Clock::now() + timeout;
    for (const auto& tree : trees_) {
      if (auto killed = detail::kill_until_empty(tree, path_, deadline); !killed) return killed;
    }
    return {};
  }

  /// What the group has used; about 5 us of CPU and no allocation. @error CgroupFailed when the group has been
  /// removed.
  [[nodiscard]] Result<Usage> read() const {
    if (trees_.empty()) return removed();
    return counters_.read();
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

  static Result<void> check_path(const std::string& path) {
    static constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    bool valid = path.starts_with("amp4ec-") && !path.ends_with('/');
    for (std::string_view rest = path; valid && !rest.empty();) {
      const auto name = detail::take_until(rest, '/');
      valid = !name.empty() && name.size() <= 200 && name != "." && name != ".." &&
              name.find_first_not_of(letters) == std::string_view::npos;
    }
    if (valid) return {};
    return Error{Errc::InvalidArgument,
                 fmt::format("'{}' is not a group; write for example amp4ec-17-4711/high, of letters, digits, '.', '_' "
                             "and '-'",
                             path)};
  }

  /// Fills `trees_` with the trees in which there is something to remove.
  Result<void> make_folders(const Hierarchy& hierarchy) {
    auto& owned = detail::owned_groups();
    const std::lock_guard lock(owned.mutex);
    for (const auto& tree : hierarchy.trees()) {
      if (!tree.refusal && detail::exists(tree.folder(path_))) {
        return Error{Errc::CgroupFailed,
                     fmt::format("the group {} is there already; choose another name", tree.folder(path_))};
      }
    }
    for (const auto& tree : hierarchy.trees()) {
      if (tree.refusal) continue;
      if (auto made = detail::create_with_parents(*backend_, tree, path_); !made) {
        // The destructor must not wait for the lock that we hold, nor may half a tree stay behind.
        (void)backend_->remove(tree, path_);
        detail::remove_unowned_parents(*backend_, tree, path_, owned);
        return made;
      }
      trees_.push_back(tree);
      owned.folders.insert(tree.folder(path_));
    }
    return {};
  }

  [[nodiscard]] const Tree* tree_of(Controller controller) const noexcept {
    for (const auto& tree : trees_) {
      if (tree.has(controller)) return &tree;
    }
    return nullptr;
  }

  [[nodiscard]] Error missing(Controller controller) const {
    if (trees_.empty()) return removed();
    return Error{Errc::CgroupUnavailable,
                 fmt::format("the group {} has no '{}' controller to limit; see Hierarchy::check", path_,
                             to_string(controller))};
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
