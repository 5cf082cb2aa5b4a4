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
  std::string fail_on;  ///< A write to this file is refused.

  Result<void> create(const Tree& tree, const std::string& group) override {
    auto made = NativeBackend::create(tree, group);
    if (!made) return made;
    log.push_back("create " + group);
    for (const auto& [file, text] : files_of(tree)) std::ofstream(tree.folder(group) + "/" + file) << text;
    return {};
  }
  Result<void> write(const Tree& tree, const std::string& group, std::string_view file,
                     std::string_view value) override {
    if (file == fail_on) return Error{Errc::CgroupFailed, "refused"};
    log.push_back(fmt::format("{} {}={}", group, file, value));
    auto written = NativeBackend::write(tree, group, file, value);
    if (written) std::ofstream(tree.folder(group) + "/" + std::string(file)) << value << '\n';
    return written;
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
  static std::vector<File> files_of(const Tree& tree) {
    std::vector<File> files{{"cgroup.procs", ""}};
    const auto add = [&](std::vector<File> more) { files.insert(files.end(), more.begin(), more.end()); };
    if (tree.version == 2) {
      add({{"cgroup.events", "populated 0\nfrozen 0\n"},
           {"cgroup.kill", ""},
           {"cgroup.type", "domain\n"},
           {"cgroup.controllers", "cpu memory\n"},
           {"cgroup.subtree_control", ""},
           {"cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n"},
           {"memory.pressure", "some avg10=0.00 total=12\nfull avg10=0.00 total=2\n"},
           {"io.pressure", "some avg10=0.00 total=13\nfull avg10=0.00 total=3\n"},
           {"cpu.stat", "usage_usec 2000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 300\n"}});
      if (tree.has(Controller::Cpu)) add({{"cpu.max", "max 100000\n"}});
      if (tree.has(Controller::Memory)) {
        add({{"memory.max", "max\n"},
             {"memory.swap.max", "max\n"},
             {"memory.current", "1000000\n"},
             {"memory.peak", "1500000\n"},
             {"memory.stat", "anon 1\ninactive_file 400000\npgfault 900\npgmajfault 7\n"},
             {"memory.events", "low 0\noom 1\noom_kill 1\n"}});
      }
      return files;
    }
    if (tree.has(Controller::Cpu)) {
      add({{"cpu.cfs_quota_us", "-1\n"},
           {"cpu.cfs_period_us", "100000\n"},
           {"cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 300000\n"}});
    }
    if (tree.has(Controller::CpuAccounting)) add({{"cpuacct.usage", "2000999\n"}});
    if (tree.has(Controller::Memory)) {
      add({{"memory.limit_in_bytes", "9223372036854771712\n"},
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

}  // namespace amp4ec::cgroup::test
