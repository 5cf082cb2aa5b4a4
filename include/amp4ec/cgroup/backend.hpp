// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/core/error.hpp>

#include <memory>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace amp4ec::cgroup {

/// How groups are made, changed, filled and removed, in one tree. Reading goes past it, by kept descriptors.
/// A group is named by its path below the tree's base, e.g. "amp4ec-17-4711/high". All methods may be called from
/// several threads at once. Errors: PermissionDenied, CgroupUnavailable (no such file), CgroupFailed.
class Backend {
 public:
  virtual ~Backend() = default;
  /// "native" or "libcgroup".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// Makes one group whose parent is there. It must not be there yet. A failure leaves nothing behind.
  virtual Result<void> create(const Tree& tree, const std::string& group) = 0;
  /// Writes one value to one of the group's kernel files.
  virtual Result<void> write(const Tree& tree, const std::string& group, std::string_view file,
                             std::string_view value) = 0;
  /// Moves a process with all its threads.
  virtual Result<void> attach(const Tree& tree, const std::string& group, pid_t process) = 0;
  /// Moves one thread; on v2 within the group of its process.
  virtual Result<void> attach_thread(const Tree& tree, const std::string& group, pid_t thread) = 0;
  /// Removes one group that has neither processes nor groups below it. A group that is gone already is no error.
  virtual Result<void> remove(const Tree& tree, const std::string& group) = 0;
};

/// The backend for a hierarchy: libcgroup's where there is one, the native one otherwise. In the compiled part: link
/// amp4ec::amp4ec. Without it, pass `native_backend()`.
std::shared_ptr<Backend> default_backend(const Hierarchy& hierarchy);

/// libcgroup for the v1 trees of a hierarchy, the native backend for its v2 tree (libcgroup's way of making v2 groups
/// breaks delegation before its 3.2.0). In the compiled part. @error NotSupported when it is not compiled in, when no
/// tree is v1, or when it does not see one of them where it is mounted.
Result<std::shared_ptr<Backend>> libcgroup_backend(const Hierarchy& hierarchy);

}  // namespace amp4ec::cgroup
