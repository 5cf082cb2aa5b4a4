// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/machine_watch.hpp>

#include "cgroup/support/built_tree.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <future>
#include <limits>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;
using cgroup::test::TempFolder;

namespace {
/// A group of a v1 machine as the kernel shows it, in the trees of `build_v1`.
void put_v1(const TempFolder& root, const std::string& group, std::uint64_t cpu_ns, const std::string& processes = "") {
  const auto cpu = "cg/cpu,cpuacct/" + group;
  const auto memory = "cg/memory/host/" + group;
  root.put(cpu + "/cgroup.procs", processes);
  root.put(cpu + "/cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 300000\n");
  root.put(cpu + "/cpuacct.usage", fmt::format("{}\n", cpu_ns));
  root.put(cpu + "/cpu.cfs_quota_us", "-1\n");
  root.put(cpu + "/cpu.cfs_period_us", "100000\n");
  root.put(memory + "/cgroup.procs", processes);
  root.put(memory + "/memory.usage_in_bytes", "1000000\n");
  root.put(memory + "/memory.max_usage_in_bytes", "1500000\n");
  root.put(memory + "/memory.stat",
           "cache 1\ninactive_file 7\ntotal_inactive_file 400000\ntotal_pgfault 9\ntotal_pgmajfault 1\n");
  root.put(memory + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  root.put(memory + "/memory.limit_in_bytes", "9223372036854771712\n");
}

void put_v2(const TempFolder& root, const std::string& folder, std::uint64_t cpu_us,
            const std::string& processes = "") {
  root.put(folder + "/cgroup.procs", processes);
  root.put(folder + "/cpu.stat",
           fmt::format("usage_usec {}\nnr_periods 5\nnr_throttled 2\nthrottled_usec 300\n", cpu_us));
  root.put(folder + "/cpu.max", "max 100000\n");
  root.put(folder + "/memory.max", "max\n");
  root.put(folder + "/memory.current", "1000000\n");
  root.put(folder + "/memory.peak", "1500000\n");
  root.put(folder + "/memory.stat", "anon 1\ninactive_file 400000\npgfault 9\npgmajfault 1\n");
  root.put(folder + "/memory.events", "low 0\noom 1\noom_kill 1\n");
}

/// A group for threads of a v1 machine, which is in the CPU trees only.
void put_threads(const TempFolder& root, const std::string& group, std::uint64_t cpu_ns, const std::string& threads) {
  const auto cpu = "cg/cpu,cpuacct/" + group;
  root.put(cpu + "/tasks", threads);
  root.put(cpu + "/cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 300000\n");
  root.put(cpu + "/cpuacct.usage", fmt::format("{}\n", cpu_ns));
  root.put(cpu + "/cpu.cfs_quota_us", "40000\n");
  root.put(cpu + "/cpu.cfs_period_us", "100000\n");
}

/// A worker thread of this process.
class ThreadWorker {
 public:
  ThreadWorker() : host_(ipc::WorkerCounters::create().value()) {
    std::promise<void> ready;
    thread_ = std::thread([&] {
      id_ = ::gettid();
      ipc::UniqueFd fd(::fcntl(host_.fd(), F_DUPFD_CLOEXEC, 0));
      own_.emplace(ipc::WorkerCounters::attach(std::move(fd)).value());
      ready.set_value();
      stop_.get_future().wait();
    });
    ready.get_future().wait();
  }
  ~ThreadWorker() {
    stop_.set_value();
    thread_.join();
  }
  ThreadWorker(const ThreadWorker&) = delete;
  ThreadWorker& operator=(const ThreadWorker&) = delete;
  [[nodiscard]] std::string line() const { return fmt::format("{}\n", id_); }
  [[nodiscard]] std::string name() const { return fmt::format("thread-{}", id_); }
  [[nodiscard]] pid_t id() const { return id_; }
  ipc::WorkerCounters& host() { return host_; }
  ipc::WorkerCounters& own() { return *own_; }

 private:
  ipc::WorkerCounters host_;
  std::optional<ipc::WorkerCounters> own_;
  pid_t id_ = 0;
  std::promise<void> stop_;
  std::thread thread_;
};

/// A process that holds a worker's counters: a child that sleeps.
class CountersHolder {
 public:
  CountersHolder() : counters_(ipc::WorkerCounters::create().value()) {
    pid_ = ::fork();
    if (pid_ == 0) {
      for (int fd = STDERR_FILENO + 1; fd < counters_.fd(); ++fd) ::close(fd);  // those of other holders
      ::pause();
      ::_exit(0);
    }
  }
  ~CountersHolder() {
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
  }
  CountersHolder(const CountersHolder&) = delete;
  CountersHolder& operator=(const CountersHolder&) = delete;
  [[nodiscard]] std::string line() const { return fmt::format("{}\n", pid_); }
  [[nodiscard]] pid_t pid() const { return pid_; }
  ipc::WorkerCounters& counters() { return counters_; }

 private:
  ipc::WorkerCounters counters_;
  pid_t pid_ = -1;
};

std::vector<std::string> names(const std::vector<WatchedNode>& nodes) {
  std::vector<std::string> all;
  for (const auto& node : nodes) {
    all.push_back(fmt::format("{}/{}/{}", node.host.pid, node.runtime, node.sample.node));
    for (const auto& worker : node.workers) all.back() += "," + worker.name;
  }
  return all;
}
}  // namespace

TEST_CASE("nodes of all hosts are found wherever they lie, and only those") {
  const TempFolder root;
  cgroup::test::build_v1(root);
  for (const auto* group :
       {"amp4ec-17-4711/low", "amp4ec-17-4711/high/worker-0", "amp4ec-17-4711/high/worker-1",
        "amp4ec-17-4711/runtime-2/high/worker-2", "amp4ec-17-4711/runtime-2/low", "amp4ec-5-4711/runtime-3",
        "amp4ec-5-4711/runtime-4/worker-0", "amp4ec-other/high", "system/high"}) {
    put_v1(root, group, 0);
  }
  root.put("cg/memory/elsewhere/deep/amp4ec-9-1/only-memory/cgroup.procs", "");
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  CHECK(watch->nodes().empty());  // rates need two looks
  watch->look();
  CHECK(names(watch->nodes()) == std::vector<std::string>{"5//runtime-3", "5//runtime-4,worker-0", "9//only-memory",
                                                          "17//high,worker-0,worker-1", "17//low",
                                                          "17/runtime-2/high,worker-2", "17/runtime-2/low"});

  // Those that go are forgotten, those that come are shown from the second look on.
  for (const auto* tree : {"/cg/memory/host/", "/cg/cpu,cpuacct/"}) {
    std::filesystem::remove_all(root.path() + tree + "amp4ec-17-4711/high/worker-0");
    std::filesystem::remove_all(root.path() + tree + "amp4ec-17-4711/low");
    std::filesystem::remove_all(root.path() + tree + "amp4ec-5-4711");
  }
  std::filesystem::remove_all(root.path() + "/cg/memory/elsewhere");
  put_v1(root, "amp4ec-17-4711/new", 0);
  watch->look();
  watch->look();
  CHECK(names(watch->nodes()) ==
        std::vector<std::string>{"17//high,worker-1", "17//new", "17/runtime-2/high,worker-2", "17/runtime-2/low"});
}

TEST_CASE("usage and limits of a node and its worker, on v1 and on v2") {
  const bool v2 = GENERATE(false, true);
  INFO(v2);
  const TempFolder root;
  // On v2, in a part of the tree that hands nothing on to this process: what is there is read all the same.
  const std::string node = v2 ? "cg/other.slice/amp4ec-17-4711/high" : "amp4ec-17-4711/high";
  const auto put = [&](std::uint64_t ms) {
    for (const auto* below : {"", "/worker-0"}) {
      v2 ? put_v2(root, node + below, 1000 * ms) : put_v1(root, node + below, 1'000'000 * ms);
    }
  };
  v2 ? cgroup::test::build_v2(root) : cgroup::test::build_v1(root);
  if (v2) root.put("cg/app.slice/cgroup.subtree_control", "");
  if (v2) root.put("cg/cgroup.subtree_control", "");
  put(100);
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  put(100'000'000);  // far more than any interval of this test has: what counts is that it is seen
  root.put(v2 ? node + "/cpu.max" : "cg/cpu,cpuacct/" + node + "/cpu.cfs_quota_us", v2 ? "40000 100000\n" : "40000\n");
  root.put(v2 ? node + "/memory.max" : "cg/memory/host/" + node + "/memory.limit_in_bytes", "536870912\n");
  watch->look();
  auto nodes = watch->nodes();
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].host == cgroup::HostIdentity{17, 4711});
  CHECK(nodes[0].sample.resources_known);
  CHECK(nodes[0].sample.cpu_used > 1_cpu);
  CHECK(nodes[0].sample.memory == 600'000_B);
  CHECK(nodes[0].sample.memory_peak == 1'500'000_B);
  CHECK(nodes[0].sample.oom_kills == 1);
  CHECK(nodes[0].sample.cpu_quota == 0.4_cpu);
  CHECK(nodes[0].sample.memory_limit == 512_MiB);
  CHECK_FALSE(nodes[0].sample.alive);
  REQUIRE(nodes[0].workers.size() == 1);
  CHECK(nodes[0].workers[0].sample.resources_known);
  CHECK(nodes[0].workers[0].sample.cpu_used > 1_cpu);
  CHECK(nodes[0].workers[0].sample.cpu_quota == 0_cpu);
  CHECK(nodes[0].workers[0].pid == 0);
}

TEST_CASE("a worker's counters are read through its process") {
  CountersHolder holder;
  holder.counters().set_phase(ipc::WorkerPhase::ready);
  holder.counters().complete(10ms, true);
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_v1(root, "amp4ec-17-4711/high", 0);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, holder.line());
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  for (int i = 0; i < 3; ++i) holder.counters().complete(20ms, i > 0);
  holder.counters().set_queued(2);
  holder.counters().set_layers(3, 9);
  std::this_thread::sleep_for(10ms);  // percentiles are no more often read than that
  watch->look();
  auto nodes = watch->nodes();
  REQUIRE(nodes.size() == 1);
  REQUIRE(nodes[0].workers.size() == 1);
  const auto& worker = nodes[0].workers[0];
  CHECK(worker.pid == holder.pid());
  CHECK(worker.requests_per_second > 0);
  CHECK(nodes[0].requests_per_second > 0);
  REQUIRE(worker.stats);
  CHECK(worker.stats->requests == 4);
  CHECK(worker.stats->errors == 1);
  CHECK(worker.stats->phase == ipc::WorkerPhase::ready);
  CHECK(worker.stats->layers == ipc::LayerRange{3, 9});
  CHECK(worker.thread == 0);
  for (const Sample& sample : {worker.sample, nodes[0].sample}) {
    CHECK(sample.alive);
    CHECK(sample.requests_done == 3);  // since we look
    CHECK(sample.mean_service_us == Approx(20'000));
    CHECK(sample.queue_depth == 2);
    CHECK(sample.p50_service_us == Approx(20'000).epsilon(0.06));
    CHECK(sample.p99_service_us == Approx(20'000).epsilon(0.06));
    CHECK(sample.network_known);
  }

  // It leaves: what it did stays in the node's sum, and is not counted again.
  holder.counters().complete(20ms, true);
  watch->look();
  for (const auto* tree : {"/cg/memory/host/", "/cg/cpu,cpuacct/"}) {
    std::filesystem::remove_all(root.path() + tree + "amp4ec-17-4711/high/worker-0");
  }
  watch->look();
  watch->look();
  nodes = watch->nodes();
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].workers.empty());
  CHECK_FALSE(nodes[0].sample.alive);
  CHECK(nodes[0].sample.requests_done == 4);
  CHECK(nodes[0].requests_per_second == 0);
}

TEST_CASE("worker threads are shown with their node, each by its own counters") {
  ThreadWorker first;
  ThreadWorker second;
  CountersHolder process;  // this process holds its counters, too
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_v1(root, "amp4ec-17-4711/high", 1'000'000);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, process.line());
  // Beside the workers, what they have started; one node has no group for processes.
  put_threads(root, "amp4ec-threads-17-4711/high", 2'000'000, first.line() + fmt::format("{}\n", ::gettid()));
  put_threads(root, "amp4ec-threads-17-4711/runtime-2/low", 0, second.line());
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  first.host().set_layers(3, 9);
  for (int i = 0; i < 2; ++i) first.own().complete(10ms, true);
  second.own().complete(30ms, true);
  process.counters().complete(10ms, true);
  put_threads(root, "amp4ec-threads-17-4711/high", 5'000'000, first.line() + fmt::format("{}\n", ::gettid()));
  watch->look();
  auto nodes = watch->nodes();
  REQUIRE(names(nodes) ==
          std::vector<std::string>{"17//high,worker-0," + first.name(), "17/runtime-2/low," + second.name()});
  const auto& high = nodes[0];
  CHECK(high.sample.state == NodeState::up);
  CHECK(high.sample.requests_done == 3);
  CHECK(high.sample.cpu_time == 3ms);  // of the threads
  CHECK(high.sample.memory_known);
  const auto& thread = high.workers[1];
  CHECK(thread.pid == ::getpid());
  CHECK(thread.thread == first.id());
  REQUIRE(thread.stats);
  CHECK(thread.stats->requests == 2);
  CHECK(thread.stats->layers == ipc::LayerRange{3, 9});
  CHECK(thread.sample.alive);
  CHECK_FALSE(thread.sample.resources_known);
  const auto& low = nodes[1];
  CHECK(low.sample.state == NodeState::up);
  CHECK(low.sample.requests_done == 1);
  CHECK(low.sample.cpu_quota == 0.4_cpu);
  CHECK(low.sample.cpu_known);
  CHECK_FALSE(low.sample.memory_known);

  // They leave: what they did stays in the sums.
  put_threads(root, "amp4ec-threads-17-4711/high", 5'000'000, "");
  put_threads(root, "amp4ec-threads-17-4711/runtime-2/low", 0, "");
  watch->look();
  watch->look();
  nodes = watch->nodes();
  REQUIRE(names(nodes) == std::vector<std::string>{"17//high,worker-0", "17/runtime-2/low"});
  CHECK(nodes[0].sample.requests_done == 3);
  CHECK(nodes[1].sample.requests_done == 1);
  CHECK(nodes[1].sample.state == NodeState::down);
}

TEST_CASE("threads whose counters cannot be told live all the same") {
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_threads(root, "amp4ec-threads-17-4711/high", 0, fmt::format("{}\n", ::gettid()));
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  watch->look();
  const auto nodes = watch->nodes();
  REQUIRE(names(nodes) == std::vector<std::string>{"17//high,threads"});
  CHECK(nodes[0].sample.state == NodeState::up);
  CHECK(nodes[0].workers[0].pid == ::getpid());
  CHECK(nodes[0].workers[0].thread == 0);
  CHECK_FALSE(nodes[0].workers[0].stats);
}

TEST_CASE("a thread is named by the kernel as we see it and as its own process does") {
  using detail::ForeignThread;
  const auto nested = ForeignThread::parse("Name:\tworker\nTgid:\t310\nNgid:\t0\nPid:\t312\nNSpid:\t312\t14\t5\n");
  REQUIRE(nested);
  CHECK(nested->process == 310);
  CHECK(nested->id == 312);
  CHECK(nested->own_id == 5);
  CHECK(ForeignThread::parse("Tgid:\t310\nPid:\t312\n")->own_id == 312);  // before Linux 4.1
  for (const std::string_view text : {"", "Tgid:\t310\n", "Tgid:\tx\nPid:\t1\n", "Pid\nTgid"}) {
    INFO(text);
    CHECK_FALSE(ForeignThread::parse(text));
  }
}

TEST_CASE("v1 counts kills in the workers' groups: the node has had them all") {
  const TempFolder root;
  cgroup::test::build_v1(root);
  const auto put_kills = [&](const std::string& group, int kills) {
    root.put("cg/memory/host/amp4ec-17-4711/high" + group + "/memory.oom_control",
             fmt::format("oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", kills));
  };
  for (const auto* group : {"", "/worker-0", "/worker-1"}) {
    put_v1(root, std::string("amp4ec-17-4711/high") + group, 0);
    put_kills(group, 0);
  }
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  const auto kills_after_look = [&] {
    std::this_thread::sleep_for(10ms);  // not read more often
    watch->look();
    return watch->nodes().at(0).sample.oom_kills;
  };
  watch->look();
  CHECK(kills_after_look() == 0);
  put_kills("/worker-0", 1);
  put_kills("/worker-1", 2);
  CHECK(kills_after_look() == 3);
  for (const auto* tree : {"/cg/memory/host/", "/cg/cpu,cpuacct/"}) {
    std::filesystem::remove_all(root.path() + tree + "amp4ec-17-4711/high/worker-1");
  }
  watch->look();
  CHECK(kills_after_look() == 3);
  put_kills("", 5);
  CHECK(kills_after_look() == 5);
}

TEST_CASE("neither a counter that falls nor another process makes a node's sums start again") {
  CountersHolder first;
  CountersHolder second;
  CountersHolder later;
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_v1(root, "amp4ec-17-4711/high", 0);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, first.line());
  put_v1(root, "amp4ec-17-4711/high/worker-1", 0, second.line());
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  const auto done = [&] {
    watch->look();
    return watch->nodes().at(0).sample.requests_done;
  };
  for (auto* worker : {&first, &second}) {
    for (int i = 0; i < 10; ++i) worker->counters().complete(1ms, true);
  }
  CHECK(done() == 20);
  const auto write_word = [&](std::uint64_t value, off_t word) {
    REQUIRE(::pwrite(first.counters().fd(), &value, sizeof value, word * 8) == sizeof value);
  };
  write_word(2, 1);  // requests
  CHECK(done() == 20);
  write_word(std::numeric_limits<std::uint64_t>::max(), 3);  // busy
  CHECK(done() == 20);
  for (int i = 0; i < 3; ++i) later.counters().complete(1ms, true);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, later.line());
  CHECK(done() == 23);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, "");  // not to be read for a moment
  CHECK(done() == 23);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, later.line());
  CHECK(done() == 23);
}

TEST_CASE("a group that comes tree by tree, or anew under its name, is read as it is") {
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0);
  const auto cpu_folder = root.path() + "/cg/cpu,cpuacct/amp4ec-17-4711";
  std::filesystem::remove_all(cpu_folder);
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  put_v1(root, "amp4ec-17-4711/high", 7'000'000);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 5'000'000);
  watch->look();
  watch->look();
  const auto high = watch->nodes().at(0);
  CHECK(high.sample.cpu_time == 7ms);
  CHECK(high.workers.at(0).sample.cpu_time == 5ms);

  std::filesystem::remove_all(cpu_folder);
  std::filesystem::remove_all(root.path() + "/cg/memory/host/amp4ec-17-4711");
  put_v1(root, "amp4ec-17-4711/high", 9'000'000);
  watch->look();
  CHECK(watch->nodes().at(0).sample.cpu_time == 9ms);
}

TEST_CASE("a worker that has work and shows no sign of life is stalled, and so is its node") {
  CountersHolder holder;
  holder.counters().begin(1, 0ns);
  const TempFolder root;
  cgroup::test::build_v1(root);
  put_v1(root, "amp4ec-17-4711/high", 0);
  put_v1(root, "amp4ec-17-4711/high/worker-0", 0, holder.line());
  auto watch = MachineWatch::create(root.path(), 100ms);
  REQUIRE(watch);
  const auto states_after_look = [&] {
    watch->look();
    const auto nodes = watch->nodes();
    REQUIRE(nodes.size() == 1);
    REQUIRE(nodes[0].workers.size() == 1);
    return std::pair(nodes[0].sample.state, nodes[0].workers[0].sample.state);
  };
  watch->look();
  holder.counters().beat();
  CHECK(states_after_look() == std::pair(NodeState::up, NodeState::up));
  for (int look = 0; look < 3; ++look) {
    std::this_thread::sleep_for(50ms);
    watch->look();
  }
  CHECK(states_after_look() == std::pair(NodeState::stalled, NodeState::stalled));
  holder.counters().complete(1ms, true);
  CHECK(states_after_look() == std::pair(NodeState::up, NodeState::up));
}

TEST_CASE("a machine without groups has no nodes") {
  const TempFolder root;
  auto watch = MachineWatch::create(root.path());
  REQUIRE(watch);
  watch->look();
  watch->look();
  CHECK(watch->nodes().empty());
  CHECK(watch->hierarchy().kind() == cgroup::Hierarchy::Kind::None);
}
