// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/cpu_list.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/kill.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// Making and removing a group in one tree.
namespace amp4ec::cgroup::detail {

/// The groups of this process that a Group object owns, by folder. Their parents may have been made in passing; those
/// go with their last child, the owned ones only with their owner.
struct OwnedGroups {
  std::mutex mutex;
  std::set<std::string> folders;
  std::map<std::string, CpuList> cpus;  ///< What was asked for those v1 groups that have a CPU list of their own.
};

inline OwnedGroups& owned_groups() {
  static OwnedGroups groups;
  return groups;
}

/// "a/b/c" -> "a/b"; "a" -> "".
inline std::string parent_group(const std::string& group) {
  const auto slash = group.rfind('/');
  return slash == std::string::npos ? std::string() : group.substr(0, slash);
}

/// A path of our own: begins with "amp4ec-", stays below its base, and needs no escaping anywhere.
inline Result<void> check_path(const std::string& path) {
  static constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  bool valid = path.starts_with("amp4ec-") && !path.ends_with('/');
  for (std::string_view rest = path; valid && !rest.empty();) {
    const auto name = take_until(rest, '/');
    valid = !name.empty() && name.size() <= 200 && name != "." && name != ".." &&
            name.find_first_not_of(letters) == std::string_view::npos;
  }
  if (valid) return {};
  return Error{Errc::InvalidArgument,
               fmt::format("'{}' is not a group; write for example amp4ec-17-4711/high, of letters, digits, '.', '_' "
                           "and '-'",
                           path)};
}

/// Removes an empty group and the groups below it, lowest first.
inline Result<void> remove_with_children(Backend& backend, const Tree& tree, const std::string& group,
                                         Clock::time_point deadline) {
  for (const auto& name : subfolders(tree.folder(group))) {
    if (auto removed = remove_with_children(backend, tree, group + "/" + name, deadline); !removed) return removed;
  }
  for (Backoff backoff;; backoff.wait()) {
    auto removed = backend.remove(tree, group);
    // The kernel may call a group busy for a moment after its last process has gone.
    if (removed || removed.error().code == Errc::PermissionDenied || Clock::now() >= deadline) return removed;
  }
}

/// On v2, lets the children of a group have those controllers that the tree has. Writes to the base and to our own
/// groups only.
inline Result<void> enable_for_children(Backend& backend, const Tree& tree, const std::string& group,
                                        const std::vector<Controller>& controllers) {
  if (tree.version != 2) return {};
  const auto text = read_file(join(tree.folder(group), files::subtree_control));
  if (!text) return text.error();
  const auto enabled = std::string_view(*text).substr(0, text->find('\n'));
  std::string missing;
  for (const auto controller : controllers) {
    if (!tree.has(controller) || has_word(enabled, ' ', to_string(controller))) continue;
    missing += fmt::format("{}+{}", missing.empty() ? "" : " ", to_string(controller));
  }
  if (missing.empty()) return {};
  auto written = backend.write(tree, group, files::subtree_control, missing);
  if (!written && written.error().code == Errc::CgroupFailed) {
    return Error{Errc::CgroupFailed,
                 written.error().message +
                     "; a v2 group cannot hold processes and limited groups at once: attach to the lowest groups only"};
  }
  return written;
}

/// On v2, gives a group controllers that its parents do not hand down yet.
inline Result<void> hand_down(Backend& backend, const Tree& tree, const std::string& group,
                              const std::vector<Controller>& controllers) {
  const auto parent = parent_group(group);
  if (!parent.empty()) {
    if (auto handed = hand_down(backend, tree, parent, controllers); !handed) return handed;
  }
  return enable_for_children(backend, tree, parent, controllers);
}

/// What a new v1 group needs before it can hold anything.
inline Result<void> prepare_v1(Backend& backend, const Tree& tree, const std::string& group) {
  if (tree.has(Controller::Memory)) {
    // Before Linux 5.11 a group's limit holds for the groups below it only if it says so.
    const auto text = read_file(join(tree.folder(group), files::memory_hierarchy));
    if (text && *text == "0\n") {
      if (auto written = backend.write(tree, group, files::memory_hierarchy, "1"); !written) return written;
    }
  }
  if (tree.has(Controller::Cpuset)) {
    // A new group may use no CPU and no memory node, and then takes no process.
    for (const auto file : {files::cpuset_cpus, files::cpuset_mems}) {
      const auto text = read_file(join(tree.folder(parent_group(group)), file));
      if (!text) return text.error();
      const auto value = std::string_view(*text).substr(0, text->find('\n'));
      if (auto written = backend.write(tree, group, file, value); !written) return written;
    }
  }
  return {};
}

/// Makes a group and those of its parents that are missing. On v2 all of them get the controllers.
inline Result<void> create_with_parents(Backend& backend, const Tree& tree, const std::string& group,
                                        const std::vector<Controller>& controllers) {
  const auto parent = parent_group(group);
  if (!parent.empty() && !exists(tree.folder(parent))) {
    if (auto created = create_with_parents(backend, tree, parent, controllers); !created) return created;
  }
  if (auto handed = hand_down(backend, tree, group, controllers); !handed) return handed;
  if (auto created = backend.create(tree, group); !created) return created;
  if (tree.version == 1) return prepare_v1(backend, tree, group);
  return {};
}

/// Removes the parents of a removed group that were made in passing and are empty by now.
inline void remove_unowned_parents(Backend& backend, const Tree& tree, std::string group, const OwnedGroups& owned) {
  for (group = parent_group(group); !group.empty(); group = parent_group(group)) {
    const auto folder = tree.folder(group);
    if (owned.folders.contains(folder) || !subfolders(folder).empty()) return;
    if (!backend.remove(tree, group)) return;
  }
}

}  // namespace amp4ec::cgroup::detail
