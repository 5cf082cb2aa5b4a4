// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/counters.hpp>
#include <amp4ec/cgroup/detail/group_tree.hpp>
#include <amp4ec/cgroup/detail/limit_check.hpp>
#include <amp4ec/cgroup/detail/limit_writer.hpp>
#include <amp4ec/cgroup/detail/thread_tree.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/limits.hpp>
#include <amp4ec/cgroup/native_backend.hpp>
#include <amp4ec/cgroup/usage.hpp>
#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

namespace amp4ec::cgroup {

/// Holds threads of this process to a share of the CPUs, which is all that the kernel limits for single threads. On v1
/// a group in the CPU trees; on v2 a threaded group below the group that this process is in, in which, beside making
/// that folder, only the cpu controller is enabled for children; it is disabled again as by `Group`.
///
/// The threads belong to the host: they are never killed. The destructor moves them back to where they were, and what
/// else has come in (children of those threads) to the group of this process; then it removes the group. In a forked
/// child the object is inert.
///
/// Thread-safety: `read` may run at once with anything but the destructor; all else needs exclusion.
class ThreadGroup {
 public:
  /// Whether the CPUs of threads of this process can be limited. Makes nothing, so that the kernel may still refuse for
  /// what lies beside. @error CgroupUnavailable, PermissionDenied.
  static Result<void> check(const Hierarchy& hierarchy) {
    if (auto trees = detail::thread_trees(hierarchy, true); !trees) return trees.error();
    return {};
  }

  /// Makes the group. The path begins with "amp4ec-", see `thread_group_name`. Of the limits only those of the CPU
  /// (quota, period, burst, weight) may be set.
  /// @error InvalidArgument for the path and the limits; CgroupUnavailable and PermissionDenied where the hierarchy has
  /// no CPU controller for threads of this process; CgroupFailed when the group exists or the kernel refuses: on v2 the
  /// group of this process must not hand other controllers on, nor have occupied groups below it. Nothing is left.
  static Result<ThreadGroup> create(const Hierarchy& hierarchy, const std::string& path, const Limits& limits = {},
                                    std::shared_ptr<Backend> backend = native_backend()) {
    if (auto valid = detail::check_path(path); !valid) return valid.error();
    if (auto valid = check_limits(limits); !valid) return valid.error();
    const bool limited = !detail::needed_controllers(limits).empty();
    auto trees = detail::thread_trees(hierarchy, limited);
    if (!trees) return trees.error();
    ThreadGroup group;
    group.path_ = path;
    group.backend_ = std::move(backend);
    group.owner_ = ::getpid();
    for (const auto& tree : *trees) {
      if (auto made = detail::create_for_threads(*group.backend_, tree, path); !made) return made.error();
      group.trees_.push_back(tree);
    }
    // From here on, a failure ends in the destructor, which removes the folders.
    if (auto set = group.set_limits(limits); !set) return set.error();
    for (const auto& tree : group.trees_) {
      if (auto opened = group.counters_.open(tree, path); !opened) return opened.error();
    }
    return group;
  }

  ThreadGroup(ThreadGroup&& other) noexcept { swap(other); }
  ThreadGroup& operator=(ThreadGroup&& other) noexcept {
    ThreadGroup old(std::move(*this));
    swap(other);
    return *this;
  }
  ~ThreadGroup() {
    if (owner_ == ::getpid()) (void)remove();
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The limits in force.
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }

  /// Changes what differs from `limits()`, while the threads run; see `Group::set_limits`.
  Result<void> set_limits(const Limits& limits) {
    if (trees_.empty()) return removed();
    if (auto valid = check_limits(limits); !valid) return valid;
    return detail::change_cpu_limits(*backend_, trees_, path_, limits_, limits);
  }

  /// Moves one thread of this process into the group, e.g. `gettid()`'s. Threads that it starts from then on begin in
  /// the group as well. @error InvalidArgument for what is no thread of this process.
  Result<void> attach(pid_t thread) {
    if (trees_.empty()) return removed();
    auto origins = detail::origins_of(trees_, thread);
    if (!origins) return origins.error();
    for (std::size_t i = 0; i < trees_.size(); ++i) {
      if (auto moved = backend_->attach_thread(trees_[i], path_, thread); !moved) {
        while (i-- > 0) (void)detail::move_thread(trees_[i], (*origins)[i], thread);
        return moved;
      }
    }
    for (std::size_t i = 0; i < trees_.size(); ++i) {
      // Started by a thread of the group, it has been nowhere else; moved to where it is, it would never leave.
      if ((*origins)[i] == trees_[i].folder(path_)) (*origins)[i] = trees_[i].mount_point + trees_[i].own;
    }
    origins_.insert({thread, std::move(*origins)});  // of a thread that was attached before, the first stays
    return {};
  }

  /// CPU time and throttling; about 3 us of CPU. The memory figures are 0. @error CgroupFailed when the group is gone.
  [[nodiscard]] Result<Usage> read() const {
    if (trees_.empty()) return removed();
    return counters_.read();
  }

  /// Moves the threads back and removes the group. Without effect on a group that is removed already. @error
  /// CgroupFailed or PermissionDenied when a thread could not be moved; it stays held then, and `remove` may be called
  /// again.
  Result<void> remove() {
    if (trees_.empty()) return {};
    if (owner_ != ::getpid()) {
      return Error{Errc::InvalidArgument, fmt::format("the group {} belongs to process {}", path_, owner_)};
    }
    while (!trees_.empty()) {
      const auto index = trees_.size() - 1;
      const auto& tree = trees_[index];
      const auto home_of = [&](pid_t thread) {
        const auto known = origins_.find(thread);
        return known == origins_.end() ? tree.mount_point + tree.own : known->second[index];
      };
      if (auto emptied = detail::move_threads_out(tree, path_, home_of); !emptied) return emptied;
      if (auto gone = detail::remove_thread_folder(*backend_, tree, path_); !gone) return gone;
      trees_.pop_back();
    }
    origins_.clear();
    counters_ = {};
    return {};
  }

 private:
  ThreadGroup() = default;

  void swap(ThreadGroup& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(backend_, other.backend_);
    std::swap(owner_, other.owner_);
    std::swap(trees_, other.trees_);
    std::swap(limits_, other.limits_);
    std::swap(origins_, other.origins_);
    std::swap(counters_, other.counters_);
  }

  static Result<void> check_limits(const Limits& limits) {
    if (auto valid = detail::check_limits(limits); !valid) return valid;
    const auto needed = detail::needed_controllers(limits);
    if (std::all_of(needed.begin(), needed.end(), [](auto controller) { return controller == Controller::Cpu; })) {
      return {};
    }
    return Error{Errc::InvalidArgument,
                 "threads can be held to CPU quota, period, burst and weight only; use processes for other limits"};
  }

  [[nodiscard]] Error removed() const {
    return Error{Errc::CgroupFailed, fmt::format("the thread group {} has been removed or moved from", path_)};
  }

  std::string path_;
  std::shared_ptr<Backend> backend_;
  pid_t owner_ = 0;
  std::vector<Tree> trees_;  ///< Empty when there is nothing to own.
  Limits limits_;
  std::map<pid_t, std::vector<std::string>> origins_;  ///< By thread: its former folder in each of the trees.
  detail::Counters counters_;
};

}  // namespace amp4ec::cgroup
