// SPDX-License-Identifier: Apache-2.0
// monitor_accuracy [SECONDS]: how true the Monitor's figures are, over windows of 5 s. Makes a group for each quota
// from 0.1 to 1.5 CPUs, lets processes burn 10, 50 and 100 % of it, and compares the CPU that the Monitor reports with
// what the processes themselves have used, by their CPU clocks (as getrusage, but readable while they run), and with
// the kernel's counter for the group. Then a process touches memory, which is compared with what the kernel counts as
// its own. Prints a table. Exit code: 0 when CPU is within 2 % and memory within the larger of 2 % and 1 MiB, 1 when
// not, 2 where it cannot run: groups need privilege.
#include <amp4ec/cgroup/group.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/monitor/monitor.hpp>

#include <fmt/format.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double cpu_seconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// A process in a group, killed and reaped at the end.
class Process {
 public:
  Process(cgroup::Group& group, const std::function<void()>& work) {
    int gate[2];
    if (::pipe(gate) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte = 0;
      if (::read(gate[0], &byte, 1) == 1) work();
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
  [[nodiscard]] double used_cpu() const {
    clockid_t clock{};
    return ::clock_getcpuclockid(pid_, &clock) == 0 ? cpu_seconds(clock) : 0;
  }

 private:
  pid_t pid_;
  Result<void> attached_;
};

/// Uses `share` of one CPU in steps of 20 ms; 1 or more: all it can get.
void burn(double share) {
  for (auto period = Clock::now();; period += 20ms) {
    if (share < 1) std::this_thread::sleep_until(period);
    const double end = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) + 0.02 * share;
    while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < end) continue;
  }
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
    auto group = make_group({.cpus = quota});
    if (!group) return group.error();
    const double wanted = quota.count * load;
    const auto count = static_cast<unsigned>(std::ceil(quota.count));
    std::vector<std::unique_ptr<Process>> processes;
    for (unsigned i = 0; i < count; ++i) {
      // At full load every process takes all that it can get, and the quota decides.
      const double share = load < 1 ? wanted / count : 1;
      processes.push_back(std::make_unique<Process>(*group, [share] { burn(share); }));
      if (const auto& attached = processes.back()->attached(); !attached) return attached.error();
    }
    const auto used_by_processes = [&] {
      double sum = 0;
      for (const auto& process : processes) sum += process->used_cpu();
      return sum;
    };
    std::this_thread::sleep_for(500ms);
    // The other two are read in the same moment as the Monitor reads: right before its own reading.
    double by_processes = 0;
    NodeSource source{"node", quota, {}};
    source.read_usage = [&] {
      by_processes = used_by_processes();
      return group->read();
    };
    if (auto added = monitor_.add_node(std::move(source)); !added) return added.error();
    const double processes_before = by_processes;
    const double kernel_before = kernel_cpu(*group);
    const auto start = Clock::now();
    (void)monitor_.start(1s);
    std::this_thread::sleep_until(start + window_);
    monitor_.stop();
    monitor_.sample();
    const double kernel = kernel_cpu(*group) - kernel_before;
    const auto seconds = std::chrono::duration<double>(monitor_.snapshot("node")->time - start).count();
    // From the samples, as a user would: each one's mean over its own interval.
    double reported = 0;
    auto previous = start;
    for (const auto& sample : monitor_.history("node")) {
      reported += sample.cpu_used.count * std::chrono::duration<double>(sample.time - previous).count();
      previous = sample.time;
    }
    monitor_.remove_node("node");
    const double truth = by_processes - processes_before;
    const double error = std::abs(reported - truth) / truth;
    const double kernel_error = std::abs(reported - kernel) / kernel;
    const bool holds = error <= 0.02 && kernel_error <= 0.02;
    fmt::print("{:5.1f} {:5.0f} % {:10.4f} {:11.4f} {:10.4f} {:8.2f} % {:8.2f} % {}\n", quota.count, load * 100,
               reported / seconds, truth / seconds, kernel / seconds, error * 100, kernel_error * 100,
               holds ? "" : "FAILS");
    return holds;
  }

  Result<bool> check_memory(Bytes touched) {
    auto group = make_group({.memory = 2 * touched + 64_MiB});
    if (!group) return group.error();
    const Process process(*group, [touched] {
      void* memory = ::mmap(nullptr, touched.count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) return;
      std::memset(memory, 1, touched.count);
      for (;;) ::pause();
    });
    if (const auto& attached = process.attached(); !attached) return attached.error();
    std::this_thread::sleep_for(1s + std::chrono::milliseconds(touched.count >> 20U));
    NodeSource source{"node", {}, group->limits().memory};
    source.read_usage = [&] { return group->read(); };
    source.read_details = [&] { return group->read_details(); };
    if (auto added = monitor_.add_node(std::move(source)); !added) return added.error();
    monitor_.sample();
    const auto reported = monitor_.snapshot("node")->memory;
    monitor_.remove_node("node");
    const Bytes kernel = anonymous_memory(process.pid());
    const auto error = std::abs(static_cast<double>(reported.count) - static_cast<double>(kernel.count));
    const bool holds = error <= std::max(0.02 * static_cast<double>(kernel.count), 0x1p20);
    fmt::print("{:>12} {:>12} {:>12} {:>9.0f} KiB {}\n", format_bytes(touched), format_bytes(reported),
               format_bytes(kernel), error / 1024, holds ? "" : "FAILS");
    return holds;
  }

 private:
  Result<cgroup::Group> make_group(const cgroup::Limits& limits) {
    return cgroup::Group::create(hierarchy_, fmt::format("{}/accuracy-{}", host_, groups_++), limits);
  }

  static double kernel_cpu(const cgroup::Group& group) {
    const auto usage = group.read();
    return usage ? std::chrono::duration<double>(usage->cpu_time).count() : 0;
  }

  /// What the kernel counts as the process's own: RssAnon and its page tables.
  static Bytes anonymous_memory(pid_t process) {
    std::ifstream status(fmt::format("/proc/{}/status", process));
    Bytes sum;
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("RssAnon:") && !line.starts_with("VmPTE:")) continue;
      const auto digits = std::string_view(line).substr(line.find_first_of("0123456789"));
      std::uint64_t kib = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), kib);
      sum += Bytes{kib << 10U};
    }
    return sum;
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
  const auto hierarchy = cgroup::Hierarchy::detect();
  const auto host = cgroup::host_group_name();
  if (!hierarchy || !host) {
    fmt::print(stderr, "no groups: {}\n", (hierarchy ? host.error() : hierarchy.error()).what());
    return 2;
  }
  Rig rig(*hierarchy, *host, std::chrono::seconds(std::max(seconds, 1)));
  bool all_hold = true;
  const auto count = [&](const Result<bool>& holds) {
    if (!holds) fmt::print(stderr, "cannot check: {}\n", holds.error().what());
    all_hold = all_hold && holds && *holds;
    return holds.has_value();
  };
  fmt::print(
      "CPU over {} s; errors are against the processes and the kernel\nquota   load    monitor   processes     "
      "kernel      error     error\n",
      seconds);
  for (const auto quota : {0.1_cpu, 0.5_cpu, 1.0_cpu, 1.5_cpu}) {
    for (const double load : {0.1, 0.5, 1.0}) {
      if (!count(rig.check_cpu(quota, load))) return 2;
      (void)std::fflush(stdout);
    }
  }
  fmt::print("     touched      monitor       kernel         error\n");
  for (const auto touched : {8_MiB, 64_MiB, 300_MiB}) {
    if (!count(rig.check_memory(touched))) return 2;
  }
  return all_hold ? 0 : 1;
}
