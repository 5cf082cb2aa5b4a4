// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

namespace amp4ec::test {

/// What the kernel's files tell of a node's group, the one above its worker's, with those below it. Finds and reads
/// them by itself, not through the library, which is what they are to judge.
class NodeFiles {
 public:
  struct Memory {
    double current = 0;   ///< Bytes, file cache included.
    double inactive = 0;  ///< Of these, the inactive file cache.
    double file = 0;      ///< Of these, all file cache.
    [[nodiscard]] double working_set() const { return std::max(0.0, current - inactive); }
  };

  explicit NodeFiles(pid_t worker)
      : used_(find(worker, "cpuacct")), quota_(find(worker, "cpu")), memory_(find(worker, "memory")) {}

  /// False where a controller has no tree that is mounted, and the figures are 0.
  [[nodiscard]] bool are_found() const { return used_ && quota_ && memory_; }

  /// Since the group was made.
  [[nodiscard]] double cpu_seconds() const {
    if (!used_) return 0;
    return used_->is_v2 ? number("cpu.stat", *used_, "usage_usec") / 1e6 : number("cpuacct.usage", *used_, "") / 1e9;
  }
  /// In how many periods the quota ran out.
  [[nodiscard]] double periods_throttled() const { return quota_ ? number("cpu.stat", *quota_, "nr_throttled") : 0; }

  [[nodiscard]] Memory memory() const {
    if (!memory_) return {};
    if (memory_->is_v2) {
      return {number("memory.current", *memory_, ""), number("memory.stat", *memory_, "inactive_file"),
              number("memory.stat", *memory_, "file")};
    }
    return {number("memory.usage_in_bytes", *memory_, ""), number("memory.stat", *memory_, "total_inactive_file"),
            number("memory.stat", *memory_, "total_cache")};
  }

 private:
  struct Place {
    std::string folder;
    bool is_v2 = false;
  };
  struct Tree {
    std::string root, point;
    bool is_v2 = false;
  };

  /// The value in "KEY 123", or for an empty key the number that the file begins with; 0 without.
  static double number(std::string_view file, const Place& place, std::string_view key) {
    std::ifstream text(std::filesystem::path(place.folder) / file);
    std::string word;
    if (!key.empty()) {
      while (text >> word && word != key) continue;
    }
    return text >> word ? static_cast<double>(std::strtoull(word.c_str(), nullptr, 10)) : 0;
  }

  static bool has_item(const std::string& list, std::string_view item) {
    std::istringstream items(list);
    for (std::string each; std::getline(items, each, ',');) {
      if (each == item) return true;
    }
    return false;
  }

  /// Of v1 with the controller, else of v2: "ID PARENT DEVICE ROOT POINT ... - TYPE SOURCE OPTIONS".
  static std::optional<Tree> tree_with(std::string_view controller) {
    std::optional<Tree> v2;
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream words(line);
      std::string skip, root, point, type, source, options;
      words >> skip >> skip >> skip >> root >> point;
      while (words >> skip && skip != "-") continue;
      words >> type >> source >> options;
      if (type == "cgroup" && has_item(options, controller)) return Tree{root, point, false};
      if (type == "cgroup2") v2 = Tree{root, point, true};
    }
    return v2;
  }

  static std::optional<Place> find(pid_t worker, std::string_view controller) {
    const auto tree = tree_with(controller);
    if (!tree) return std::nullopt;
    std::ifstream groups("/proc/" + std::to_string(worker) + "/cgroup");
    for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/group"
      const auto names_at = line.find(':') + 1;
      const auto path_at = line.find(':', names_at) + 1;
      const std::string names = line.substr(names_at, path_at - names_at - 1);
      if (tree->is_v2 ? !names.empty() : !has_item(names, controller)) continue;
      std::string group = line.substr(path_at);
      if (tree->root != "/" && group.starts_with(tree->root)) group.erase(0, tree->root.size());
      return Place{std::filesystem::path(tree->point + group).parent_path().string(), tree->is_v2};
    }
    return std::nullopt;
  }

  std::optional<Place> used_, quota_, memory_;
};

}  // namespace amp4ec::test
