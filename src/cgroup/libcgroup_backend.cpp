// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/native_backend.hpp>

#ifdef AMP4EC_HAS_LIBCGROUP

#include <amp4ec/cgroup/detail/group_tree.hpp>

#include <fmt/format.h>
#include <libcgroup.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace amp4ec::cgroup {
namespace {

struct FreeGroup {
  void operator()(::cgroup* group) const { ::cgroup_free(&group); }
};
using Handle = std::unique_ptr<::cgroup, FreeGroup>;

/// libcgroup makes no promise about threads.
std::mutex& libcgroup_mutex() {
  static std::mutex mutex;
  return mutex;
}

/// `code` must not be 0: `cgroup_strerror(0)` claims that libcgroup is not compiled in.
Error libcgroup_error(int code, const std::string& what) {
  if (code == ECGOTHER) return detail::system_error(::cgroup_get_last_errno(), what);
  if (code == ECGROUPNOTALLOWED || code == ECGROUPNOTOWNER) return detail::system_error(EPERM, what);
  const auto errc = code == ECGROUPVALUENOTEXIST || code == ECGROUPSUBSYSNOTMOUNTED || code == ECGROUPNOTMOUNTED
                        ? Errc::CgroupUnavailable
                        : Errc::CgroupFailed;
  return Error{errc, fmt::format("{}: libcgroup: {}", what, ::cgroup_strerror(code))};
}

/// A description of the group, in the controllers of its tree. `controller` is the one that `file` belongs to.
struct Description {
  Handle group;
  ::cgroup_controller* controller = nullptr;
};

/// `what` it is for, in an error.
Result<Description> describe(const Tree& tree, const std::string& group, const std::string& what,
                             std::string_view file = {}) {
  const auto name = tree.base.empty() ? group : detail::join(std::string_view(tree.base).substr(1), group);
  Description description{Handle(::cgroup_new_cgroup(name.c_str())), nullptr};
  if (!description.group) return libcgroup_error(ECGINVAL, what);
  for (const auto controller : tree.controllers) {
    const auto controller_name = to_string(controller);
    auto* added = ::cgroup_add_controller(description.group.get(), controller_name.data());
    if (description.controller == nullptr || file.substr(0, file.find('.')) == controller_name) {
      description.controller = added;
    }
  }
  if (description.controller == nullptr) return libcgroup_error(ECGINVAL, what);
  return description;
}

/// libcgroup for v1 trees; the native backend for the v2 tree of a hybrid hierarchy.
class LibcgroupBackend : public NativeBackend {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "libcgroup"; }

  Result<void> create(const Tree& tree, const std::string& group) override {
    if (tree.version == 2) return NativeBackend::create(tree, group);
    const auto what = "creating the group " + tree.folder(group);
    // libcgroup is content with a group that is there already.
    if (detail::exists(tree.folder(group))) return detail::system_error(EEXIST, what);
    const std::lock_guard lock(libcgroup_mutex());
    const auto description = describe(tree, group, what);
    if (!description) return description.error();
    if (const int code = ::cgroup_create_cgroup(description->group.get(), 1); code != 0) {
      auto error = libcgroup_error(code, what);
      (void)NativeBackend::remove(tree, group);  // libcgroup leaves the folder
      return error;
    }
    return {};
  }

  Result<void> write(const Tree& tree, const std::string& group, std::string_view file,
                     std::string_view value) override {
    if (tree.version == 2) return NativeBackend::write(tree, group, file, value);
    const auto what = fmt::format("writing '{}' to {}", value, detail::join(tree.folder(group), file));
    const std::lock_guard lock(libcgroup_mutex());
    const auto description = describe(tree, group, what, file);
    if (!description) return description.error();
    int code =
        ::cgroup_add_value_string(description->controller, std::string(file).c_str(), std::string(value).c_str());
    if (code == 0) code = ::cgroup_modify_cgroup(description->group.get());
    if (code != 0) return libcgroup_error(code, what);
    return {};
  }

  Result<void> attach(const Tree& tree, const std::string& group, pid_t process) override {
    if (tree.version == 2) return NativeBackend::attach(tree, group, process);
    const auto what = fmt::format("moving process {} to {}", process, tree.folder(group));
    const std::lock_guard lock(libcgroup_mutex());
    const auto description = describe(tree, group, what);
    if (!description) return description.error();
    // On v1 libcgroup moves a single thread. A thread started meanwhile begins where its creator is, so when a look at
    // the process shows only threads that we have moved, all are in.
    std::set<pid_t> moved;
    for (bool all_moved = false; !all_moved;) {
      all_moved = true;
      const auto threads = threads_of(process);
      if (threads.empty()) return detail::system_error(ESRCH, what);
      for (const auto thread : threads) {
        if (moved.contains(thread)) continue;
        all_moved = false;
        const int code = ::cgroup_attach_task_pid(description->group.get(), thread);
        const bool ended = code == ECGOTHER && ::cgroup_get_last_errno() == ESRCH;
        if (code != 0 && (!ended || thread == process)) return libcgroup_error(code, what);
        moved.insert(thread);
      }
    }
    return {};
  }

  Result<void> attach_thread(const Tree& tree, const std::string& group, pid_t thread) override {
    if (tree.version == 2) return NativeBackend::attach_thread(tree, group, thread);
    const auto what = fmt::format("moving thread {} to {}", thread, tree.folder(group));
    const std::lock_guard lock(libcgroup_mutex());
    const auto description = describe(tree, group, what);
    if (!description) return description.error();
    const int code = ::cgroup_attach_task_pid(description->group.get(), thread);
    if (code != 0) return libcgroup_error(code, what);
    return {};
  }

  Result<void> remove(const Tree& tree, const std::string& group) override {
    if (tree.version == 2) return NativeBackend::remove(tree, group);
    const auto folder = tree.folder(group);
    const auto what = "removing the group " + folder;
    if (!detail::exists(folder)) return {};
    // libcgroup would move the processes of a busy group to its parent, out of their limits.
    const auto processes = detail::processes_below(folder);
    if (!processes) return processes.error();
    if (!processes->empty() || !detail::subfolders(folder).empty()) return detail::system_error(EBUSY, what);
    const std::lock_guard lock(libcgroup_mutex());
    const auto description = describe(tree, group, what);
    if (!description) return description.error();
    if (const int code = ::cgroup_delete_cgroup_ext(description->group.get(), CGFLAG_DELETE_EMPTY_ONLY); code != 0) {
      return libcgroup_error(code, what);
    }
    if (detail::exists(folder)) return detail::system_error(EBUSY, what);
    return {};
  }

 private:
  static std::vector<pid_t> threads_of(pid_t process) {
    std::vector<pid_t> threads;
    for (const auto& name : detail::subfolders(fmt::format("/proc/{}/task", process))) {
      if (const auto number = detail::to_number(name)) threads.push_back(static_cast<pid_t>(*number));
    }
    return threads;
  }
};

/// libcgroup reads the mount table once, at this call; initialising it twice leaks and races.
int initialise_once() {
  static const int code = ::cgroup_init();
  return code;
}

}  // namespace

Result<std::shared_ptr<Backend>> libcgroup_backend(const Hierarchy& hierarchy) {
  const std::lock_guard lock(libcgroup_mutex());
  if (const int code = initialise_once(); code != 0) {
    return Error{Errc::NotSupported, libcgroup_error(code, "initialising libcgroup").message};
  }
  bool has_v1 = false;
  for (const auto& tree : hierarchy.trees()) {
    if (tree.version != 1) continue;
    has_v1 = true;
    for (const auto controller : tree.controllers) {
      char* mount_point = nullptr;
      const int code = ::cgroup_get_subsys_mount_point(to_string(controller).data(), &mount_point);
      const std::unique_ptr<char, decltype(&std::free)> owner(mount_point, &std::free);
      if (code != 0 || tree.mount_point != mount_point) {
        return Error{Errc::NotSupported, fmt::format("libcgroup does not see the '{}' controller at {}",
                                                     to_string(controller), tree.mount_point)};
      }
    }
  }
  if (!has_v1) return Error{Errc::NotSupported, "libcgroup is used for v1 trees only, and there is none"};
  return std::shared_ptr<Backend>(std::make_shared<LibcgroupBackend>());
}

}  // namespace amp4ec::cgroup

#else

namespace amp4ec::cgroup {

Result<std::shared_ptr<Backend>> libcgroup_backend(const Hierarchy& /*hierarchy*/) {
  return Error{Errc::NotSupported, "libcgroup is not compiled in; configure with AMP4EC_WITH_LIBCGROUP=ON"};
}

}  // namespace amp4ec::cgroup

#endif

namespace amp4ec::cgroup {

std::shared_ptr<Backend> default_backend(const Hierarchy& hierarchy) {
  auto backend = libcgroup_backend(hierarchy);
  return backend ? *backend : native_backend();
}

}  // namespace amp4ec::cgroup
