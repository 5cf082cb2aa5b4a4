// SPDX-License-Identifier: Apache-2.0
// monitor_accuracy [SECONDS]: how true the Monitor's figures are, over windows of 5 s. Takes 2 to 3 minutes.
//
// CPU: for each quota from 0.1 to 1.5 CPUs, processes in a worker's group below the node's burn 10, 50 and 100 % of it.
// What the Monitor reports is compared with what `getrusage` tells the processes, and with the kernel's counter of the
// node's group. Memory: a process takes memory, reads a file, and gives both back; each sample is compared with what
// the kernel's files say in the same moment and, while it has no file cache, with what is the process's own. This
// program finds and reads those files by itself, not through the library.
//
// Prints two tables; their last column is empty or says FAILS, as it does where a load or a file cache did not come
// about. Exit code: 0 when CPU is within 2 % and memory within
// the larger of 2 % and 1 MiB, 1 when not, 2 where it cannot run: groups need privilege.
#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/monitor/monitor.hpp>

#include "support/node_files.hpp"

#include <fmt/format.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

/// What the kernel counts as the process's own, in bytes: anonymous memory and page tables.
double own_memory(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  double kib = 0;
  for (std::string word; status >> word;) {
    double value = 0;
    if ((word == "RssAnon:" || word == "VmPTE:") && status >> value) kib += value;
  }
  return kib * 1024;
}

// The processes.

/// A number that two processes share.
class SharedNumber {
 public:
  SharedNumber()
      : memory_(::mmap(nullptr, sizeof(std::atomic<std::int64_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0)) {
    if (memory_ == MAP_FAILED) std::abort();
    ::new (memory_) std::atomic<std::int64_t>(0);
  }
  SharedNumber(const SharedNumber&) = delete;
  SharedNumber& operator=(const SharedNumber&) = delete;
  ~SharedNumber() { ::munmap(memory_, sizeof(std::atomic<std::int64_t>)); }
  [[nodiscard]] std::atomic<std::int64_t>& operator*() const {
    return *static_cast<std::atomic<std::int64_t>*>(memory_);
  }

 private:
  void* memory_;
};

/// A process in a group, killed and reaped at the end. What it works at gets a number to tell this process something.
class Process {
 public:
  Process(cgroup::Group& group, const std::function<void(std::atomic<std::int64_t>&)>& work) {
    int gate[2];
    if (::pipe(gate) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte = 0;
      if (::read(gate[0], &byte, 1) == 1) work(*number_);
      ::_exit(0);
    }
    attached_ = group.attach(pid_);
    if (::write(gate[1], "g", 1) != 1) std::abort();
    ::close(gate[0]);
    ::close(gate[1]);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] const Result<void>& attached() const { return attached_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::atomic<std::int64_t>& number() const { return *number_; }

 private:
  SharedNumber number_;
  pid_t pid_ = -1;
  Result<void> attached_;
};

/// Of the calling process.
std::chrono::microseconds resources_used() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

/// Uses `share` of one CPU in steps of 20 ms; 1 or more: all it can get. Tells all the while what `getrusage` says: no
/// other process can ask for it.
void burn(double share, std::atomic<std::int64_t>& used) {
  const auto tell = [&] {
    const auto now = resources_used();
    used = now.count();
    return now;
  };
  for (auto period = Clock::now();; period += 20ms) {
    if (share < 1) std::this_thread::sleep_until(period);
    const auto end = tell() + std::chrono::microseconds(std::llround(20'000 * share));
    while (tell() < end) continue;
  }
}

constexpr std::size_t file_bytes = 128U << 20U;

/// A file of its own, not in memory, that goes away.
class ColdFile {
 public:
  explicit ColdFile(const std::filesystem::path& folder)
      : path_(folder / fmt::format("amp4ec-accuracy-{}", ::getpid())) {
    const std::string block(1U << 20U, 'x');
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (std::size_t written = 0; written < file_bytes && whole_; written += block.size()) {
      whole_ = ::write(file, block.data(), block.size()) == static_cast<ssize_t>(block.size());
    }
    whole_ = whole_ && ::fsync(file) == 0 && ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0;
    ::close(file);
  }
  ColdFile(const ColdFile&) = delete;
  ColdFile& operator=(const ColdFile&) = delete;
  ~ColdFile() { std::filesystem::remove(path_); }
  [[nodiscard]] bool is_whole() const { return whole_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool whole_ = true;
};

/// What the process that is watched has done when a window begins. In this order.
struct Phase {
  std::string_view name;
  bool has_cache;
  double least_cache;  ///< Bytes that the kernel must say are file cache at its end, or nothing was tested.
  /// The cache becomes active and the memory stays the same, which the slow tier sees: the sample at the end of the
  /// window counts. Elsewhere each does.
  bool settles = false;
};
constexpr std::array phases{Phase{"takes 8 MiB", false, 0},
                            Phase{"takes 292 MiB more", false, 0},
                            Phase{"reads a file of 128 MiB", true, 0.99 * file_bytes},
                            Phase{"reads it twice more", true, 0.99 * file_bytes, true},
                            Phase{"has the file dropped", false, 0},
                            Phase{"gives 200 MiB back", false, 0},
                            Phase{"gives 92 MiB back", false, 0}};

/// Goes through the phases, each when the number has come to it.
void use_memory(const std::filesystem::path& path, std::atomic<std::int64_t>& number) {
  constexpr std::size_t bytes = 300U << 20U;
  auto* memory = static_cast<char*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (memory == MAP_FAILED || file < 0) return;
  const auto wait_for = [&](std::int64_t phase) {
    while (number < phase) std::this_thread::sleep_for(1ms);
  };
  const auto read_file = [&] {
    static char block[1U << 16U];
    for (off_t at = 0; ::pread(file, block, sizeof block, at) > 0;) at += static_cast<off_t>(sizeof block);
  };
  wait_for(1);
  std::memset(memory, 1, 8U << 20U);
  wait_for(2);
  std::memset(memory + (8U << 20U), 1, bytes - (8U << 20U));
  wait_for(3);
  read_file();
  wait_for(4);
  read_file();
  read_file();
  wait_for(5);
  (void)::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  wait_for(6);
  (void)::madvise(memory, 200U << 20U, MADV_DONTNEED);
  wait_for(7);
  (void)::madvise(memory + (200U << 20U), 92U << 20U, MADV_DONTNEED);
  for (;;) ::pause();
}

class Rig {
 public:
  Rig(cgroup::Hierarchy hierarchy, std::string host, std::chrono::seconds window)
      : hierarchy_(std::move(hierarchy)),
        host_(std::move(host)),
        window_(window),
        guard_(context_.get_executor()),
        thread_([this] { context_.run(); }),
        monitor_(context_.get_executor(), static_cast<std::size_t>(window.count()) + 1) {}
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  ~Rig() {
    context_.stop();
    thread_.join();
  }

  /// True when it holds.
  Result<bool> check_cpu(Cpus quota, double load) {
    auto made = make_node({.cpus = quota});
    if (!made) return made.error();
    const auto count = static_cast<unsigned>(std::ceil(quota.count));
    std::vector<std::unique_ptr<Process>> processes;
    for (unsigned i = 0; i < count; ++i) {
      // At full load every process takes all that it can get, and the quota decides.
      const double share = load < 1 ? quota.count * load / count : 1;
      processes.push_back(std::make_unique<Process>(made->worker, [share](auto& used) { burn(share, used); }));
      if (const auto& attached = processes.back()->attached(); !attached) return attached.error();
    }
    const test::NodeFiles kernel(processes.front()->pid());
    if (!kernel.are_found()) return no_files();
    std::this_thread::sleep_for(500ms);
    /// What is true, in the moment before the Monitor's own reading.
    struct Truth {
      double by_processes = 0, by_kernel = 0;
      Clock::time_point time;
    };
    std::vector<Truth> truths;
    NodeSource source{"node", quota, {}};
    source.read_usage = [&] {
      Truth truth;
      for (const auto& process : processes) truth.by_processes += static_cast<double>(process->number()) / 1e6;
      truth.by_kernel = kernel.cpu_seconds();
      truth.time = Clock::now();
      truths.push_back(truth);
      return made->node.read();
    };
    if (auto added = monitor_.add_node(std::move(source)); !added) return added.error();
    const auto start = Clock::now();
    (void)monitor_.start(1s);
    std::this_thread::sleep_until(start + window_);
    monitor_.stop();
    monitor_.sample();
    // As a user would: the mean of the samples, each over its own interval.
    double reported = 0;
    auto previous = truths.front().time;
    for (const auto& sample : monitor_.history("node")) {
      reported += sample.cpu_share * quota.count * seconds_between(previous, sample.time);
      previous = sample.time;
    }
    reported /= seconds_between(truths.front().time, previous);
    monitor_.remove_node("node");
    const double seconds = seconds_between(truths.front().time, truths.back().time);
    const double by_processes = (truths.back().by_processes - truths.front().by_processes) / seconds;
    const double by_kernel = (truths.back().by_kernel - truths.front().by_kernel) / seconds;
    const auto error = [&](double truth) { return std::abs(reported - truth) / truth; };
    const bool tested = by_processes >= 0.9 * quota.count * load;  // Else other work has taken the CPUs.
    const bool holds = error(by_processes) <= 0.02 && error(by_kernel) <= 0.02 && tested;
    fmt::print("{:5.2f} {:5.0f} % {:10.4f} {:11.4f} {:10.4f} {:8.2f} % {:8.2f} % {}\n", quota.count, load * 100,
               reported, by_processes, by_kernel, error(by_processes) * 100, error(by_kernel) * 100,
               holds ? "" : (tested ? "FAILS" : "FAILS: not tested"));
    return holds;
  }

  /// All phases, by the timer and with the usual tiers. True when it holds.
  Result<bool> check_memory() {
    const ColdFile file("/var/tmp");
    if (!file.is_whole()) return Error{Errc::SystemCall, "a file cannot be written in /var/tmp"};
    auto made = make_node({.memory = 512_MiB});
    if (!made) return made.error();
    const Process process(made->worker, [&](auto& number) { use_memory(file.path(), number); });
    if (const auto& attached = process.attached(); !attached) return attached.error();
    const test::NodeFiles files(process.pid());
    if (!files.are_found()) return no_files();
    test::NodeFiles::Memory kernel;
    double own = 0;
    NodeSource source{"node", {}, 512_MiB};
    source.read_inactive_file = [&] { return made->node.read_inactive_file(); };
    source.read_details = [&] { return made->node.read_details(); };
    source.read_usage = [&] {
      own = own_memory(process.pid());
      kernel = files.memory();
      return made->node.read();
    };
    if (auto added = monitor_.add_node(std::move(source)); !added) return added.error();
    bool all_hold = true;
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = phases[i];
      Worst worst;
      test::NodeFiles::Memory last;
      double last_own = 0;
      int samples = 0;
      {
        const auto told = monitor_.subscribe([&](const Sample& sample) {
          ++samples;
          last = kernel;
          last_own = own;
          if (phase.settles) worst = {};
          worst.add("charged", sample.memory_current, kernel.current);
          worst.add("working set", sample.memory, kernel.working_set());
          if (!phase.has_cache) worst.add("working set, of the process", sample.memory, own);
        });
        process.number() = static_cast<std::int64_t>(i) + 1;
        if (i == 0) (void)monitor_.start(1s);
        std::this_thread::sleep_for(window_);
      }
      const bool tested = samples > 0 && last.file >= phase.least_cache;
      const bool holds = worst.holds() && tested;
      all_hold = all_hold && holds;
      fmt::print("{:<24} {:>3} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.2f} {:<28} {}\n", phase.name, samples,
                 mib(last.current), mib(last.working_set()), mib(last_own), mib(worst.reported), mib(worst.error()),
                 worst.figure, holds ? "" : (tested ? "FAILS" : "FAILS: not tested"));
      (void)std::fflush(stdout);
    }
    monitor_.stop();
    monitor_.remove_node("node");
    return all_hold;
  }

 private:
  struct NodeGroups {
    cgroup::Group node, worker;
  };

  /// The reading that is farthest off, in parts of what is allowed.
  struct Worst {
    std::string_view figure = "none";
    double reported = 0, truth = 0;

    [[nodiscard]] double error() const { return std::abs(reported - truth); }
    [[nodiscard]] double of_allowed() const { return error() / std::max(0.02 * truth, 0x1p20); }
    [[nodiscard]] bool holds() const { return of_allowed() <= 1; }
    void add(std::string_view name, Bytes value, double true_value) {
      const Worst other{name, static_cast<double>(value.count), true_value};
      if (figure == "none" || other.of_allowed() > of_allowed()) *this = other;
    }
  };

  static double mib(double bytes) { return bytes / 0x1p20; }
  static Error no_files() { return Error{Errc::CgroupUnavailable, "the kernel's files of the group are not found"}; }

  /// A node's group with limits, and a worker's below it, as a runtime makes them.
  Result<NodeGroups> make_node(const cgroup::Limits& limits) {
    const std::string path = fmt::format("{}/accuracy-{}", host_, groups_++);
    auto node = cgroup::Group::create(hierarchy_, path, limits);
    if (!node) return node.error();
    auto worker = cgroup::Group::create(hierarchy_, path + "/worker-0");
    if (!worker) return worker.error();
    return NodeGroups{std::move(*node), std::move(*worker)};
  }

  cgroup::Hierarchy hierarchy_;
  std::string host_;
  std::chrono::seconds window_;
  int groups_ = 0;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::thread thread_;
  Monitor monitor_;
};

}  // namespace

int main(int argc, char** argv) {
  int seconds = 5;
  const std::string_view argument = argc > 1 ? argv[1] : "5";
  std::from_chars(argument.data(), argument.data() + argument.size(), seconds);
  seconds = std::max(seconds, 2);
  const auto hierarchy = cgroup::Hierarchy::detect();
  const auto host = cgroup::host_group_name();
  if (!hierarchy || !host) {
    fmt::print(stderr, "no groups: {}\n", (hierarchy ? host.error() : hierarchy.error()).what());
    return 2;
  }
  Rig rig(*hierarchy, *host, std::chrono::seconds(seconds));
  bool all_hold = true;
  const auto count = [&](const Result<bool>& holds) {
    if (!holds) fmt::print(stderr, "cannot check: {}\n", holds.error().what());
    all_hold = all_hold && holds && *holds;
    return holds.has_value();
  };
  fmt::print(
      "CPU over {} s; errors are against the processes' getrusage and the kernel's counter\nquota   load    monitor   "
      "getrusage     kernel      error     error\n",
      seconds);
  for (const auto quota : {0.1_cpu, 0.25_cpu, 0.5_cpu, 1.0_cpu, 1.5_cpu}) {
    for (const double load : {0.1, 0.5, 1.0}) {
      if (!count(rig.check_cpu(quota, load))) return 2;
      (void)std::fflush(stdout);
    }
  }
  fmt::print(
      "Memory in MiB, every 1 s, the slow tier every 5 s: of each window the kernel's last, and the sample farthest "
      "off\n{:<24} {:>3} {:>9} {:>9} {:>9} {:>9} {:>9} which\n",
      "the process", "n", "charged", "working", "own", "reported", "error");
  if (!count(rig.check_memory())) return 2;
  return all_hold ? 0 : 1;
}
