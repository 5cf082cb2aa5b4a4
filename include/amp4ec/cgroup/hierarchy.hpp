// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/proc_files.hpp>
#include <amp4ec/core/error.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::cgroup {

enum class Controller {
  Cpu,            ///< CPU quota.
  CpuAccounting,  ///< CPU time used. On v2 every group has it.
  Memory,         ///< Memory limits and use.
  Cpuset,         ///< Which CPUs.
  Pids,           ///< Number of processes and threads.
  Freezer,        ///< Halting all processes. On v2 every group has it (Linux 5.2 and later).
};

inline constexpr std::array all_controllers{Controller::Cpu,    Controller::CpuAccounting, Controller::Memory,
                                            Controller::Cpuset, Controller::Pids,          Controller::Freezer};

/// The kernel's v1 name, e.g. "cpuacct".
constexpr std::string_view to_string(Controller controller) noexcept {
  switch (controller) {
    case Controller::Cpu: return "cpu";
    case Controller::CpuAccounting: return "cpuacct";
    case Controller::Memory: return "memory";
    case Controller::Cpuset: return "cpuset";
    case Controller::Pids: return "pids";
    case Controller::Freezer: return "freezer";
  }
  return "unknown";
}

/// One mounted tree of groups, and the place in it below which amp4ec may make groups of its own.
struct Tree {
  int version = 1;
  std::string mount_point;              ///< E.g. "/sys/fs/cgroup/cpu".
  std::string own;                      ///< The group of this process below the mount point: "" (the top) or "/a/b".
  std::string base;                     ///< Groups are made below this one: "" or "/a/b".
  std::vector<Controller> controllers;  ///< What groups made here can count or limit.
  std::optional<Error> refusal;         ///< Why no group can be made here.
  std::string mount_root{};             ///< The group that is seen at the mount point; "" for the top.

  [[nodiscard]] bool has(Controller controller) const noexcept {
    return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
  }
  /// The folder of a group; of the base itself for "".
  [[nodiscard]] std::string folder(std::string_view group) const {
    const auto base_folder = mount_point + base;
    return group.empty() ? base_folder : detail::join(base_folder, group);
  }
};

namespace detail {
/// Where a group of /proc/<pid>/cgroup lies below a mount point that shows the groups from `mount_root` on. A process
/// outside the part that is mounted (a container) has its place at the mount point.
inline std::string group_below(std::string_view mount_root, std::string_view path) {
  if (!path.starts_with(mount_root)) return {};
  path.remove_prefix(mount_root.size());
  if (path == "/" || !path.starts_with('/') || path.starts_with("/..")) return {};
  return std::string(path);
}
}  // namespace detail

/// What the machine offers: v1, v2, both (hybrid: each controller lives in one of them) or nothing. A plain value.
///
/// Where groups are made. v1: below the group of this process, so that limits set on the host hold for its workers too.
/// v2: below the nearest group, from the host's own upwards, whose children can have the controllers. That is rarely
/// the host's own group: the kernel gives no controllers to the children of a group that holds processes. To keep
/// workers inside a delegated group, start the host in a child of it. Beside v1 trees, groups are made in the v2 tree
/// even where it has no controllers: for killing, freezing, events and pressure.
class Hierarchy {
 public:
  enum class Kind { None, V1, V2, Hybrid };

  Hierarchy() = default;
  /// For tests and unusual machines; `detect` is the normal way.
  Hierarchy(Kind kind, std::vector<Tree> trees) : kind_(kind), trees_(std::move(trees)) {}

  /// Reads /proc/self/cgroup, /proc/self/mountinfo and the mounted trees, all below `root`. Changes nothing.
  /// No cgroups at all is not an error: `kind()` is None. @error CgroupFailed when the kernel's text makes no sense.
  static Result<Hierarchy> detect(const std::string& root = "/");

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  /// The v1 trees that carry a controller we know, and the v2 tree; each controller in one of them.
  [[nodiscard]] const std::vector<Tree>& trees() const noexcept { return trees_; }

  /// Whether groups can be made that have this controller. @error CgroupUnavailable, PermissionDenied: why not, and how
  /// to mend it.
  [[nodiscard]] Result<void> check(Controller controller) const {
    for (const auto& tree : trees_) {
      if (!tree.has(controller)) continue;
      if (tree.refusal) return *tree.refusal;
      return {};
    }
    // On v2 a group shows only what was handed on to it: without rights there is no controller to look at, but a
    // reason.
    for (const auto& tree : trees_) {
      if (kind_ == Kind::V2 && tree.refusal) return *tree.refusal;
    }
    const auto name = to_string(controller);
    if (kind_ == Kind::None) {
      return Error{
          Errc::CgroupUnavailable,
          fmt::format("no cgroup hierarchy is mounted, so '{}' cannot be used; mount one at /sys/fs/cgroup", name)};
    }
    return Error{
        Errc::CgroupUnavailable,
        fmt::format("no cgroup tree offers the '{}' controller to this process; enable it in the kernel, or start "
                    "the host in a child of a delegated group (systemd-run --user --scope -p Delegate=yes)",
                    name)};
  }

  /// Whether any group can be made.
  [[nodiscard]] Result<void> check_create() const {
    const Tree* refused = nullptr;
    for (const auto& tree : trees_) {
      if (!tree.refusal) return {};
      refused = &tree;
    }
    if (refused != nullptr) return *refused->refusal;
    return Error{Errc::CgroupUnavailable,
                 "no cgroup hierarchy with cpu or memory is mounted; mount one at /sys/fs/cgroup"};
  }

 private:
  static std::string parent_of(std::string_view group) { return std::string(group.substr(0, group.rfind('/'))); }
  static std::optional<Error> refusal_of(const Tree& tree);
  static std::vector<Controller> controllers_v2(const Tree& tree, const std::vector<Controller>& core);
  static void choose_base_v2(Tree& tree, const std::vector<Controller>& core);

  Kind kind_ = Kind::None;
  std::vector<Tree> trees_;
};

inline std::optional<Error> Hierarchy::refusal_of(const Tree& tree) {
  const auto base = tree.folder("");
  for (const auto& path : {base, detail::join(base, files::processes)}) {
    if (!detail::writable(path)) return detail::system_error(errno, "making groups below " + base);
  }
  return std::nullopt;
}

/// `core`: what v2 counts or does in every group, as far as no v1 tree has it.
inline std::vector<Controller> Hierarchy::controllers_v2(const Tree& tree, const std::vector<Controller>& core) {
  const auto base = tree.folder("");
  const auto text = [&](std::string_view file) {
    auto content = detail::read_file(detail::join(base, file));
    if (!content) return std::string();
    return content->substr(0, content->find_last_not_of('\n') + 1);
  };
  const auto enabled = text(files::subtree_control);
  // The kernel enables controllers below the real root, and below groups that hold no process themselves.
  const bool can_enable = detail::writable(detail::join(base, files::subtree_control)) &&
                          (!detail::exists(detail::join(base, files::type)) || text(files::processes).empty());
  const auto offered = can_enable ? text(files::controllers) : std::string();
  auto usable = core;
  for (const auto controller : {Controller::Cpu, Controller::Memory, Controller::Cpuset, Controller::Pids}) {
    const auto name = to_string(controller);
    if (detail::has_word(enabled, ' ', name) || detail::has_word(offered, ' ', name)) usable.push_back(controller);
  }
  return usable;
}

inline void Hierarchy::choose_base_v2(Tree& tree, const std::vector<Controller>& core) {
  // The other controllers are not worth leaving a nearer group for.
  const auto worth = [](const Tree& place) {
    return static_cast<int>(place.has(Controller::Cpu)) + static_cast<int>(place.has(Controller::Memory));
  };
  tree.base = tree.own;
  tree.controllers = controllers_v2(tree, core);
  tree.refusal = refusal_of(tree);
  for (Tree candidate = tree; !candidate.base.empty();) {
    candidate.base = parent_of(candidate.base);
    candidate.controllers = controllers_v2(candidate, core);
    candidate.refusal = refusal_of(candidate);
    if (!candidate.refusal && (tree.refusal || worth(candidate) > worth(tree))) tree = candidate;
  }
}

inline Result<Hierarchy> Hierarchy::detect(const std::string& root) {
  const auto own_text = detail::read_file(detail::join(root, files::own_groups));
  const auto mount_text = detail::read_file(detail::join(root, files::mounts));
  if (!own_text || !mount_text) return Hierarchy{};  // a kernel built without cgroups
  const auto own_groups = parse_own_groups(*own_text);
  if (!own_groups) return own_groups.error();
  const auto mounts = parse_mounts(*mount_text);
  if (!mounts) return mounts.error();

  const auto is_mounted_for = [](const Mount& mount, const OwnGroup& own) {
    if (own.hierarchy == 0) return mount.version == 2;
    return mount.version == 1 &&
           detail::has_word(mount.controllers, ',', own.controllers.substr(0, own.controllers.find(',')));
  };
  std::vector<Tree> v1;
  std::vector<Tree> v2;
  for (const auto& own : *own_groups) {
    for (const auto& mount : *mounts) {
      if (!is_mounted_for(mount, own)) continue;
      Tree tree;
      tree.version = mount.version;
      tree.mount_point = root == "/" ? mount.mount_point : detail::join(root, mount.mount_point);
      if (mount.root != "/") tree.mount_root = mount.root;
      tree.own = detail::group_below(tree.mount_root, own.path);
      if (!detail::exists(tree.mount_point + tree.own)) tree.own.clear();
      tree.base = tree.own;
      for (const auto controller : all_controllers) {
        if (detail::has_word(own.controllers, ',', to_string(controller))) tree.controllers.push_back(controller);
      }
      (mount.version == 2 ? v2 : v1).push_back(std::move(tree));
      break;  // a second mount shows the same tree
    }
  }
  std::erase_if(v1, [](const Tree& tree) { return tree.controllers.empty(); });
  for (auto& tree : v1) tree.refusal = refusal_of(tree);
  std::vector<Controller> core{Controller::CpuAccounting, Controller::Freezer};
  for (const auto& tree : v1) {
    std::erase_if(core, [&](Controller controller) { return tree.has(controller); });
  }
  for (auto& tree : v2) choose_base_v2(tree, core);

  const auto kind = v1.empty() ? (v2.empty() ? Kind::None : Kind::V2) : (v2.empty() ? Kind::V1 : Kind::Hybrid);
  v1.insert(v1.end(), v2.begin(), v2.end());
  return Hierarchy(kind, std::move(v1));
}

}  // namespace amp4ec::cgroup
