// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/native_backend.hpp>

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::cgroup::test {

/// A folder of its own under the system's temporary folder, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "amp4ec-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Writes a file and the folders above it.
  void put(const std::string& file, std::string_view text) const {
    const std::filesystem::path path = path_ + "/" + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  [[nodiscard]] std::string get(const std::string& file) const {
    std::ifstream stream(path_ + "/" + file);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  [[nodiscard]] bool has(const std::string& file) const { return std::filesystem::exists(path_ + "/" + file); }

 private:
  std::string path_;
};

/// Plays the kernel over the native backend: a new folder gets its files, a removed one loses them; writes are noted.
class PlayedKernel : public NativeBackend {
 public:
  std::vector<std::string> log;
  std::string fail_on;     ///< A write to this file is refused.
  std::string fail_below;  ///< A group in a tree mounted at a path that ends so cannot be made.
  bool freezes = true;     ///< Whether a group that is told to freeze does.

  Result<void> create(const Tree& tree, const std::string& group) override {
    if (!fail_below.empty() && tree.mount_point.ends_with(fail_below)) return Error{Errc::CgroupFailed, "refused"};
    auto made = NativeBackend::create(tree, group);
    if (!made) return made;
    log.push_back("create " + group);
    put_files(tree, group);
    return {};
  }
  Result<void> write(const Tree& tree, const std::string& group, std::string_view file,
                     std::string_view value) override {
    if (file == fail_on) return Error{Errc::CgroupFailed, "refused"};
    log.push_back(fmt::format("{} {}={}", group, file, value));
    const auto burst = tree.version == 2 ? files::cpu_max_burst : files::cpu_burst;
    if (file == files::cpu_max || file == files::cpu_quota) {
      const auto held = text_of(tree, group, burst);
      if (!held.empty() && held != "0\n") return Error{Errc::CgroupFailed, "the quota may be below the burst"};
    }
    if (file == files::subtree_control) {
      hand_down(tree, group, value);
    } else {
      auto written = NativeBackend::write(tree, group, file, value);
      if (!written) return written;
      put(tree, group, file, value.ends_with('\n') ? std::string(value) : fmt::format("{}\n", value));
    }
    if (file == files::freeze && freezes)
      put(tree, group, files::events, fmt::format("populated 0\nfrozen {}\n", value));
    if (file == files::freezer_state && value == "FROZEN" && !freezes) put(tree, group, file, "FREEZING\n");
    return {};
  }
  Result<void> remove(const Tree& tree, const std::string& group) override {
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(tree.folder(group), error)) {
      if (entry.is_directory()) return Error{Errc::CgroupFailed, "busy"};
      files.push_back(entry.path());
    }
    for (const auto& file : files) std::filesystem::remove(file, error);
    log.push_back("remove " + group);
    return NativeBackend::remove(tree, group);
  }

 private:
  struct File {
    std::string name, text;
  };

  static void put(const Tree& tree, const std::string& group, std::string_view file, std::string_view text) {
    std::ofstream(detail::join(tree.folder(group), file)) << text;
  }
  static std::string text_of(const Tree& tree, const std::string& group, std::string_view file) {
    auto text = detail::read_file(detail::join(tree.folder(group), file));
    return text ? std::move(*text) : std::string();
  }

  /// "+cpu -pids" to cgroup.subtree_control: the groups below get the controllers and their files.
  static void hand_down(const Tree& tree, const std::string& group, std::string_view value) {
    const auto before = text_of(tree, group, files::subtree_control);
    auto rest = std::string_view(before).substr(0, before.find('\n'));
    std::vector<std::string_view> enabled;
    while (!rest.empty()) enabled.push_back(detail::take_until(rest, ' '));
    while (!value.empty()) {
      const auto word = detail::take_until(value, ' ');
      std::erase(enabled, word.substr(1));
      if (word.starts_with('+')) enabled.push_back(word.substr(1));
    }
    put(tree, group, files::subtree_control, fmt::format("{}\n", fmt::join(enabled, " ")));
    for (const auto& name : detail::subfolders(tree.folder(group))) {
      const auto below = group.empty() ? name : detail::join(group, name);
      if (below.starts_with("amp4ec")) put_files(tree, below);
    }
  }

  /// The files that the group does not have yet.
  static void put_files(const Tree& tree, const std::string& group) {
    const auto folder = tree.folder(group);
    for (const auto& [file, text] : tree.version == 2 ? files_v2(tree, group) : files_v1(tree)) {
      if (file == files::controllers || !detail::exists(detail::join(folder, file))) put(tree, group, file, text);
    }
  }

  static std::vector<File> files_v2(const Tree& tree, const std::string& group) {
    const auto handed_down = text_of(tree, std::filesystem::path(group).parent_path().string(), files::subtree_control);
    const auto has = [&](Controller controller) {
      return detail::has_word(std::string_view(handed_down).substr(0, handed_down.find('\n')), ' ',
                              to_string(controller));
    };
    std::vector<File> files{{"cgroup.procs", ""},
                            {"cgroup.threads", ""},
                            {"cgroup.events", "populated 0\nfrozen 0\n"},
                            {"cgroup.kill", ""},
                            {"cgroup.freeze", "0\n"},
                            {"cgroup.type", "domain\n"},
                            {"cgroup.controllers", handed_down},
                            {"cgroup.subtree_control", ""},
                            {"cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n"},
                            {"memory.pressure", "some avg10=0.00 total=12\nfull avg10=0.00 total=2\n"},
                            {"io.pressure", "some avg10=0.00 total=13\nfull avg10=0.00 total=3\n"},
                            {"cpu.stat", "usage_usec 2000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 300\n"}};
    const auto add = [&](std::vector<File> more) { files.insert(files.end(), more.begin(), more.end()); };
    if (has(Controller::Cpu)) {
      add({{"cpu.max", "max 100000\n"}, {"cpu.max.burst", "0\n"}, {"cpu.weight", "100\n"}});
    }
    if (has(Controller::Cpuset)) add({{"cpuset.cpus", "\n"}, {"cpuset.cpus.effective", "0-3\n"}});
    if (has(Controller::Pids)) add({{"pids.max", "max\n"}});
    if (has(Controller::Memory)) {
      add({{"memory.max", "max\n"},
           {"memory.high", "max\n"},
           {"memory.swap.max", "max\n"},
           {"memory.current", "1000000\n"},
           {"memory.peak", "1500000\n"},
           {"memory.stat", "anon 1\ninactive_file 400000\npgfault 900\npgmajfault 7\n"},
           {"memory.events", "low 0\noom 1\noom_kill 1\n"}});
    }
    return files;
  }

  static std::vector<File> files_v1(const Tree& tree) {
    std::vector<File> files{{"cgroup.procs", ""}, {"tasks", ""}};
    const auto add = [&](std::vector<File> more) { files.insert(files.end(), more.begin(), more.end()); };
    if (tree.has(Controller::Cpu)) {
      add({{"cpu.cfs_quota_us", "-1\n"},
           {"cpu.cfs_period_us", "100000\n"},
           {"cpu.cfs_burst_us", "0\n"},
           {"cpu.shares", "1024\n"},
           {"cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 300000\n"}});
    }
    if (tree.has(Controller::CpuAccounting)) add({{"cpuacct.usage", "2000999\n"}});
    if (tree.has(Controller::Cpuset)) add({{"cpuset.cpus", "\n"}, {"cpuset.mems", "\n"}});
    if (tree.has(Controller::Pids)) add({{"pids.max", "max\n"}});
    if (tree.has(Controller::Freezer)) add({{"freezer.state", "THAWED\n"}});
    if (tree.has(Controller::Memory)) {
      add({{"memory.limit_in_bytes", "9223372036854771712\n"},
           {"memory.soft_limit_in_bytes", "9223372036854771712\n"},
           {"memory.memsw.limit_in_bytes", "9223372036854771712\n"},
           {"memory.usage_in_bytes", "1000000\n"},
           {"memory.max_usage_in_bytes", "1500000\n"},
           {"memory.use_hierarchy", "1\n"},
           {"memory.stat",
            "cache 1\ninactive_file 7\ntotal_inactive_file 400000\ntotal_pgfault 900\ntotal_pgmajfault 7\n"},
           {"memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"}});
    }
    return files;
  }
};

/// v1: cpu and cpuacct mounted together, memory apart; the process sits in "/host" of the memory tree.
inline void build_v1(const TempFolder& root) {
  root.put("proc/self/cgroup", "3:memory:/host\n2:cpu,cpuacct:/\n1:name=systemd:/\n");
  root.put("proc/self/mountinfo",
           "20 1 0:1 / / rw - ext4 /dev/vda rw\n"
           "30 20 0:2 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
           "31 20 0:3 / /cg/memory rw - cgroup cgroup rw,memory\n"
           "32 20 0:4 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n");
  root.put("cg/cpu,cpuacct/cgroup.procs", "1\n");
  root.put("cg/memory/cgroup.procs", "1\n");
  root.put("cg/memory/host/cgroup.procs", "1\n");
}

/// v2 under a service manager: the process sits in /app.slice/host.scope; app.slice hands both controllers on.
inline void build_v2(const TempFolder& root) {
  root.put("proc/self/cgroup", "0::/app.slice/host.scope\n");
  root.put("proc/self/mountinfo", "30 20 0:2 / /cg rw - cgroup2 cgroup2 rw\n");
  root.put("cg/cgroup.procs", "1\n");
  root.put("cg/cgroup.controllers", "cpuset cpu io memory pids\n");
  root.put("cg/cgroup.subtree_control", "cpu memory\n");
  root.put("cg/app.slice/cgroup.procs", "");
  root.put("cg/app.slice/cgroup.type", "domain\n");
  root.put("cg/app.slice/cgroup.controllers", "cpu memory\n");
  root.put("cg/app.slice/cgroup.subtree_control", "cpu memory\n");
  root.put("cg/app.slice/host.scope/cgroup.procs", "4711\n");
  root.put("cg/app.slice/host.scope/cgroup.type", "domain\n");
  root.put("cg/app.slice/host.scope/cgroup.controllers", "cpu memory\n");
  root.put("cg/app.slice/host.scope/cgroup.subtree_control", "\n");
}

/// v1 for cpu, memory, cpuset (four CPUs), pids and freezer, and a v2 tree without controllers beside it.
inline void build_hybrid(const TempFolder& root) {
  build_v1(root);
  root.put("proc/self/cgroup", "6:freezer:/\n5:pids:/\n4:cpuset:/\n3:memory:/host\n2:cpu,cpuacct:/\n0::/\n");
  root.put("proc/self/mountinfo", root.get("proc/self/mountinfo") +
                                      "33 20 0:5 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
                                      "34 20 0:6 / /cg/pids rw - cgroup cgroup rw,pids\n"
                                      "35 20 0:7 / /cg/freezer rw - cgroup cgroup rw,freezer\n"
                                      "36 20 0:8 / /cg/unified rw - cgroup2 cgroup2 rw\n");
  root.put("cg/cpuset/cgroup.procs", "1\n");
  root.put("cg/cpuset/cpuset.cpus", "0-3\n");
  root.put("cg/cpuset/cpuset.mems", "0\n");
  root.put("cg/pids/cgroup.procs", "1\n");
  root.put("cg/freezer/cgroup.procs", "1\n");
  root.put("cg/unified/cgroup.procs", "1\n");
  root.put("cg/unified/cgroup.controllers", "hugetlb\n");
  root.put("cg/unified/cgroup.subtree_control", "\n");
}

/// v2 at the real root, which hands on whatever is wanted.
inline void build_v2_root(const TempFolder& root) {
  root.put("proc/self/cgroup", "0::/\n");
  root.put("proc/self/mountinfo", "30 20 0:2 / /cg rw - cgroup2 cgroup2 rw\n");
  root.put("cg/cgroup.procs", "1\n");
  root.put("cg/cgroup.threads", "1\n");
  root.put("cg/cgroup.controllers", "cpuset cpu memory pids\n");
  root.put("cg/cgroup.subtree_control", "\n");
  root.put("cg/cpuset.cpus.effective", "0-3\n");
}

}  // namespace amp4ec::cgroup::test
