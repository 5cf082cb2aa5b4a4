// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

namespace amp4ec::cgroup {

/// Works on the cgroup file system itself: v1 and v2, delegated or not. Keeps no state.
class NativeBackend : public Backend {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "native"; }

  Result<void> create(const Tree& tree, const std::string& group) override {
    const auto folder = tree.folder(group);
    if (::mkdir(folder.c_str(), 0755) != 0) return detail::system_error(errno, "creating the group " + folder);
    return {};
  }

  Result<void> write(const Tree& tree, const std::string& group, std::string_view file,
                     std::string_view value) override {
    return detail::write_file(detail::join(tree.folder(group), file), value);
  }

  Result<void> attach(const Tree& tree, const std::string& group, pid_t process) override {
    // Written to cgroup.procs, unlike to v1's tasks, a pid moves the process with all its threads at once.
    return write(tree, group, files::processes, fmt::to_string(process));
  }

  Result<void> attach_thread(const Tree& tree, const std::string& group, pid_t thread) override {
    return write(tree, group, tree.version == 2 ? files::threads : files::tasks, fmt::to_string(thread));
  }

  Result<void> remove(const Tree& tree, const std::string& group) override {
    const auto folder = tree.folder(group);
    if (::rmdir(folder.c_str()) != 0 && errno != ENOENT) {
      return detail::system_error(errno, "removing the group " + folder);
    }
    return {};
  }
};

inline std::shared_ptr<Backend> native_backend() {
  return std::make_shared<NativeBackend>();
}

}  // namespace amp4ec::cgroup
