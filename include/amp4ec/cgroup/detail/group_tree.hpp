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
#include <system_error>
#include <vector>

/// Making and removing a group in one tree.
namespace amp4ec::cgroup::detail {

/// The groups of this process that a Group object owns, by folder. Their parents may have been made in passing; those
/// go with their last child, the owned ones only with their owner.
struct OwnedGroups {
  std::mutex mutex;
  std::set<std::string> folders;
  std::map<std::string, CpuList> cpus;  ///< What was asked for those v1 groups that have a CPU list of their own.
  /// By the v2 folder that is none of our groups: the controllers that it did not hand on before we made it.
  std::map<std::string, std::set<Controller>> enabled;
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

/// Which of these controllers a v2 group hands on to its children.
inline Result<std::set<Controller>> enabled_of(const Tree& tree, const std::string& group,
                                               const std::set<Controller>& controllers) {
  const auto text = read_file(join(tree.folder(group), files::subtree_control));
  if (!text) return text.error();
  const auto words = std::string_view(*text).substr(0, text->find('\n'));
  std::set<Controller> enabled;
  for (const auto controller : controllers) {
    if (has_word(words, ' ', to_string(controller))) enabled.insert(controller);
  }
  return enabled;
}

/// "+cpu +memory".
inline std::string signed_names(char sign, const std::set<Controller>& controllers) {
  std::string names;
  for (const auto controller : controllers) {
    names += fmt::format("{}{}{}", names.empty() ? "" : " ", sign, to_string(controller));
  }
  return names;
}

/// On v2, lets the children of a group have those controllers that the tree has. Writes to the base and to our own
/// groups only. What it changes in the base is noted, see `disable_in_base`. The lock of `owned` is held.
inline Result<void> enable_for_children(Backend& backend, const Tree& tree, const std::string& group,
                                        const std::vector<Controller>& controllers, OwnedGroups& owned) {
  if (tree.version != 2) return {};
  std::set<Controller> missing(controllers.begin(), controllers.end());
  std::erase_if(missing, [&](Controller controller) { return !tree.has(controller); });
  const auto enabled = enabled_of(tree, group, missing);
  if (!enabled) return enabled.error();
  std::erase_if(missing, [&](Controller controller) { return enabled->contains(controller); });
  if (missing.empty()) return {};
  auto written = backend.write(tree, group, files::subtree_control, signed_names('+', missing));
  if (written && group.empty()) owned.enabled[tree.folder("")].insert(missing.begin(), missing.end());
  if (!written && written.error().code == Errc::CgroupFailed) {
    return Error{Errc::CgroupFailed,
                 written.error().message +
                     "; a v2 group cannot hold processes and limited groups at once: attach to the lowest groups only"};
  }
  return written;
}

/// Takes back from the base what we enabled there, once it has no groups below it any more, ours or others': nobody can
/// be using it then. What is disabled already stays so. The lock of `owned` is held.
inline void disable_in_base(Backend& backend, const Tree& tree, OwnedGroups& owned) {
  const auto noted = owned.enabled.find(tree.folder(""));
  if (noted == owned.enabled.end()) return;
  std::error_code failed;
  if (!subfolders(tree.folder(""), failed).empty() || failed) return;
  const auto enabled = enabled_of(tree, "", noted->second);
  if (!enabled) return;
  if (!enabled->empty() && !backend.write(tree, "", files::subtree_control, signed_names('-', *enabled))) return;
  owned.enabled.erase(noted);
}

/// On v2, gives a group controllers that its parents do not hand down yet. The lock of `owned` is held.
inline Result<void> hand_down(Backend& backend, const Tree& tree, const std::string& group,
                              const std::vector<Controller>& controllers, OwnedGroups& owned) {
  const auto parent = parent_group(group);
  if (!parent.empty()) {
    if (auto handed = hand_down(backend, tree, parent, controllers, owned); !handed) return handed;
  }
  return enable_for_children(backend, tree, parent, controllers, owned);
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

/// Makes a group and those of its parents that are missing. On v2 all of them get the controllers. The lock of `owned`
/// is held.
inline Result<void> create_with_parents(Backend& backend, const Tree& tree, const std::string& group,
                                        const std::vector<Controller>& controllers, OwnedGroups& owned) {
  const auto parent = parent_group(group);
  if (!parent.empty() && !exists(tree.folder(parent))) {
    if (auto created = create_with_parents(backend, tree, parent, controllers, owned); !created) return created;
  }
  if (auto handed = hand_down(backend, tree, group, controllers, owned); !handed) return handed;
  if (auto created = backend.create(tree, group); !created) return created;
  if (tree.version == 1) return prepare_v1(backend, tree, group);
  return {};
}

/// Removes the parents of a removed group that were made in passing and are empty by now, and with the last of them
/// what we enabled in the base. The lock of `owned` is held.
inline void remove_unowned_parents(Backend& backend, const Tree& tree, std::string group, OwnedGroups& owned) {
  for (group = parent_group(group); !group.empty(); group = parent_group(group)) {
    const auto folder = tree.folder(group);
    if (owned.folders.contains(folder) || !subfolders(folder).empty()) return;
    if (!backend.remove(tree, group)) return;
  }
  disable_in_base(backend, tree, owned);
}

}  // namespace amp4ec::cgroup::detail
