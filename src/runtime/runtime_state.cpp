// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime_state.hpp"

#include "runtime/ungrouped_limits.hpp"
#include "runtime/worker_thread.hpp"

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/monitor/network_reader.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace amp4ec::detail {

namespace {

constexpr std::string_view runtime_prefix = "runtime-";
constexpr std::string_view no_node = "_";  ///< The group of workers on no node; no node has such a name.

std::string_view name_of(cgroup::Hierarchy::Kind kind) {
  switch (kind) {
    case cgroup::Hierarchy::Kind::None: return "none";
    case cgroup::Hierarchy::Kind::V1: return "v1";
    case cgroup::Hierarchy::Kind::V2: return "v2";
    case cgroup::Hierarchy::Kind::Hybrid: return "hybrid";
  }
  return "none";
}

/// A limit of RuntimeOptions::group_limits.
struct ExtraLimit {
  std::string_view name;
  cgroup::Controller controller;
  bool (*is_given)(const cgroup::Limits&);
  void (*copy)(const cgroup::Limits& from, cgroup::Limits& to);
};

template <auto Member>
constexpr ExtraLimit extra(std::string_view name, cgroup::Controller controller) {
  return {name, controller, [](const cgroup::Limits& limits) { return limits.*Member != cgroup::Limits{}.*Member; },
          [](const cgroup::Limits& from, cgroup::Limits& to) { to.*Member = from.*Member; }};
}

constexpr std::array kinds_of_extra_limits{
    extra<&cgroup::Limits::cpu_burst>("cpu_burst", cgroup::Controller::Cpu),
    extra<&cgroup::Limits::cpu_weight>("cpu_weight", cgroup::Controller::Cpu),
    extra<&cgroup::Limits::cpuset>("cpuset", cgroup::Controller::Cpuset),
    extra<&cgroup::Limits::memory_high>("memory_high", cgroup::Controller::Memory),
    extra<&cgroup::Limits::swap>("swap", cgroup::Controller::Memory),
    extra<&cgroup::Limits::pids>("pids", cgroup::Controller::Pids)};

/// Beside a runtime's nodes lie the groups of the host's later runtimes.
Result<void> check_names(const std::vector<NodeSpec>& nodes, const RuntimeOptions& options) {
  for (const NodeSpec& node : nodes) {
    if (node.name.starts_with(runtime_prefix)) {
      return Error{Errc::InvalidArgument,
                   fmt::format("a node cannot be called '{}': names that begin with '{}' are amp4ec's own", node.name,
                               runtime_prefix)};
    }
  }
  for (const auto& entry : options.group_limits) {
    const std::string& name = entry.first;  // Clang does not capture structured bindings.
    if (std::none_of(nodes.begin(), nodes.end(), [&](const NodeSpec& node) { return node.name == name; }))
      return Error{Errc::InvalidArgument, fmt::format("group_limits are given for '{}', which is no node", name)};
  }
  return {};
}

/// Serves until the context is stopped, and then what is ready by then: completions that somebody waits for. The host's
/// callbacks run here, and Asio hands on what they throw after the handler that called them has ended: dropping it
/// loses nothing of ours.
void serve(const std::shared_ptr<boost::asio::io_context>& io) {
  const auto go_on = [&](auto run) {
    while (!io->stopped()) {
      try {
        run();
      } catch (...) {
      }
    }
  };
  go_on([&] { io->run(); });
  io->restart();
  go_on([&] { io->poll(), io->stop(); });
}

void join(std::thread& thread) {
  // The last session may end on one of the runtime's own threads.
  if (thread.joinable()) thread.get_id() == std::this_thread::get_id() ? thread.detach() : thread.join();
}

}  // namespace

Result<cgroup::Usage> Node::usage() const {
  auto usage = group ? group->read() : Result<cgroup::Usage>(cgroup::Usage{});
  const std::lock_guard lock(threads_mutex);
  if (!usage || !thread_group) return usage;
  const auto of_threads = thread_group->read();
  if (!of_threads) return of_threads.error();
  usage->cpu_time += of_threads->cpu_time;
  usage->throttled_time += of_threads->throttled_time;
  usage->nr_throttled += of_threads->nr_throttled;
  return usage;
}

Result<cgroup::UsageDetails> Node::details() const {
  auto details = group->read_details();
  if (details) details->oom_kills = std::max<std::uint64_t>(details->oom_kills, oom_kills_);
  return details;
}

Result<void> Node::claim(WorkerKind kind) {
  const std::lock_guard lock(mutex_);
  const auto other = kind == WorkerKind::thread ? WorkerKind::process : WorkerKind::thread;
  if (running_[other] > 0) {
    return Error{
        Errc::NotSupported,
        fmt::format("node '{}' has workers of kind '{}' and cannot have one of kind '{}': the kernel would give "
                    "each kind the whole quota; use another node, or one kind",
                    name, to_string(other), to_string(kind))};
  }
  ++running_[kind];
  return {};
}

void Node::release(WorkerKind kind) noexcept {
  const std::lock_guard lock(mutex_);
  --running_[kind];
}

RuntimeState::RuntimeState(std::vector<NodeSpec> given, RuntimeOptions options)
    : options_(std::move(options)), work_(io->get_executor()), monitor_work_(monitor_io->get_executor()) {
  for (NodeSpec& spec : given) nodes.push_back(std::make_unique<Node>(std::move(spec)));
}

Result<std::shared_ptr<RuntimeState>> RuntimeState::create(std::vector<NodeSpec> nodes, RuntimeOptions options) try {
  if (auto valid = validate_nodes(nodes); !valid) return valid.error();
  if (auto valid = check_names(nodes, options); !valid) return valid.error();
  auto worker = find_worker(options.worker_executable);
  if (!worker) return worker.error();

  std::shared_ptr<RuntimeState> state(new RuntimeState(std::move(nodes), std::move(options)));
  state->worker_executable_ = std::move(*worker);
  const auto extra_limits = std::exchange(state->options_.group_limits, {});  // Those that hold come back.
  if (auto made = state->make_groups(); !made) return made.error();
  // After the groups: on v2, making them takes the cpu controller from the threads' group in some places.
  const auto threads = cgroup::ThreadGroup::check(state->hierarchy_);
  state->capabilities.thread_groups = threads.has_value();
  if (!threads && state->capabilities.cpu_limits) {
    state->capabilities.missing.push_back(
        fmt::format("CPU limits of worker threads are not enforced: {}", threads.error().message));
  }
  for (const auto& [name, limits] : extra_limits) {
    if (auto held = state->hold_extra_limits(*state->find_node(name), limits); !held) return held.error();
  }
  state->hold_without_groups();

  state->monitor.emplace(state->monitor_io->get_executor());
  const auto network = NetworkReader::open();  // the workers share this process's network namespace
  for (const auto& node : state->nodes) {
    const NodeSpec spec = node->spec();
    NodeSource source{spec.name, spec.cpus, spec.memory};
    source.read_workers = [raw = node.get()] { return raw->workers.read(); };
    source.read_service_times = [raw = node.get()] { return raw->workers.service_times(); };
    if (node->group) {
      source.read_usage = [raw = node.get()] { return raw->usage(); };
      source.read_inactive_file = [raw = node.get()] { return raw->group->read_inactive_file(); };
      source.read_details = [raw = node.get()] { return raw->details(); };
    }
    if (network) source.read_network = *network;
    if (auto added = state->monitor->add_node(std::move(source)); !added) return added.error();
  }
  if (auto started = state->monitor->start(state->options_.sample_interval); !started) return started.error();
  state->thread_ = std::thread([io = state->io] { serve(io); });
  state->monitor_thread_ = std::thread([io = state->monitor_io] { serve(io); });
  return state;
} catch (const std::exception& exception) {  // Asio and std::thread, when descriptors or threads run out.
  return Error{Errc::SystemCall, fmt::format("cannot start a runtime: {}", exception.what())};
}

RuntimeState::~RuntimeState() {
  if (monitor) monitor->stop();
  monitor_io->stop();
  io->stop();
  join(monitor_thread_);
  join(thread_);
}

Result<void> RuntimeState::degrade(const Error& error, std::string_view what) {
  if (options_.require_limits) return error;
  capabilities.missing.push_back(fmt::format("{} not enforced: {}", what, error.message));
  return {};
}

/// The nodes' groups with CPU quota and memory; the other limits come after.
Result<void> RuntimeState::make_groups() {
  capabilities.cgroups = "none";
  auto hierarchy = cgroup::Hierarchy::detect();
  if (!hierarchy) return degrade(hierarchy.error(), "CPU and memory limits are");
  hierarchy_ = std::move(*hierarchy);
  capabilities.cgroups = name_of(hierarchy_.kind());
  backend_ = cgroup::default_backend(hierarchy_);
  auto host = cgroup::host_group_name();
  if (!host) return degrade(host.error(), "CPU and memory limits are");
  // The first runtime's nodes lie in the host's own group; later ones, which may have nodes of the same names, below
  // it.
  static std::atomic<unsigned> runtimes{0};
  const unsigned number = ++runtimes;
  host_group_ = number == 1 ? *host : fmt::format("{}/{}{}", *host, runtime_prefix, number);
  (void)cgroup::remove_stale_groups(hierarchy_, backend_);  // What stays is for the next start; it does no harm.

  const auto cpu = hierarchy_.check(cgroup::Controller::Cpu);
  const auto memory = hierarchy_.check(cgroup::Controller::Memory);
  if (!cpu) {
    if (auto go_on = degrade(cpu.error(), "CPU limits are"); !go_on) return go_on;
  }
  if (!memory) {
    if (auto go_on = degrade(memory.error(), "memory limits are"); !go_on) return go_on;
  }
  if (!cpu && !memory) return {};
  capabilities.cpu_limits = cpu.has_value();
  capabilities.memory_limits = memory.has_value();
  for (const auto& node : nodes) {
    const cgroup::Limits limits = limits_of(node->spec());
    auto group = cgroup::Group::create(hierarchy_, host_group_ + "/" + node->name, limits, backend_);
    if (!group) {
      // A kernel that lets one node be held and not the next would make plans lie: hold all of them or none.
      for (const auto& other : nodes) other->group.reset();
      if (group.error().code == Errc::InvalidArgument) return group.error();
      capabilities.cpu_limits = capabilities.memory_limits = false;
      return degrade(group.error(), "CPU and memory limits are");
    }
    node->group.emplace(std::move(*group));
  }
  const auto all_have = [&](cgroup::Controller controller) {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) { return node->group->has(controller); });
  };
  capabilities.cpusets = all_have(cgroup::Controller::Cpuset);
  capabilities.pid_limits = all_have(cgroup::Controller::Pids);
  capabilities.freezing = all_have(cgroup::Controller::Freezer);
  return {};
}

/// One by one, so that a limit that the kernel does not hold takes no other with it.
Result<void> RuntimeState::hold_extra_limits(Node& node, const cgroup::Limits& wanted) {
  cgroup::Limits& in_force = options_.group_limits[node.name];
  for (const ExtraLimit& limit : kinds_of_extra_limits) {
    if (!limit.is_given(wanted)) continue;
    Result<void> held = Error{Errc::CgroupUnavailable, "the node has no group of its own"};
    if (node.group) held = hierarchy_.check(limit.controller);
    if (held) {
      limit.copy(wanted, in_force);
      held = node.group->set_limits(limits_of(node.spec()));
    }
    if (held) continue;
    if (held.error().code == Errc::InvalidArgument) return held;
    limit.copy({}, in_force);
    if (auto go_on = degrade(held.error(), fmt::format("{} of node '{}' is", limit.name, node.name)); !go_on)
      return go_on;
  }
  return {};
}

/// What can be held without the kernel's groups, where those do not hold it.
void RuntimeState::hold_without_groups() {
  std::vector<Cpus> quotas;
  for (const auto& node : nodes) quotas.push_back(node->spec().cpus);
  auto shares = share_cpus(quotas);
  if (shares) {
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i]->pinned_cpus = std::move((*shares)[i]);
  }
  capabilities.cpu_affinity = shares && !capabilities.cpu_limits;
  if (!shares && !capabilities.cpu_limits) {
    capabilities.missing.push_back(fmt::format("workers are not pinned to CPUs: {}", shares.error().message));
  }
  if (!capabilities.memory_limits) {
    capabilities.memory_rlimits = true;
  }
}

std::vector<NodeSpec> RuntimeState::specs() const {
  std::vector<NodeSpec> specs;
  for (const auto& node : nodes) specs.push_back(node->spec());
  return specs;
}

/// What the kernel is to hold the node to: what it can, of what was asked for.
cgroup::Limits RuntimeState::limits_of(const NodeSpec& spec) const {
  const auto given = options_.group_limits.find(spec.name);
  cgroup::Limits limits = given == options_.group_limits.end() ? cgroup::Limits{} : given->second;
  limits.cpus = capabilities.cpu_limits ? spec.cpus : Cpus{};
  limits.memory = capabilities.memory_limits ? spec.memory : Bytes{};
  limits.cpu_period = options_.cpu_period;
  return limits;
}

/// Of these the kernel holds threads to those of the CPU only.
cgroup::Limits RuntimeState::thread_limits_of(const NodeSpec& spec) const {
  const cgroup::Limits node = limits_of(spec);
  cgroup::Limits limits;
  limits.cpus = spec.cpus;
  limits.cpu_period = node.cpu_period;
  limits.cpu_burst = node.cpu_burst;
  limits.cpu_weight = node.cpu_weight;
  return limits;
}

Result<void> RuntimeState::set_limits(const std::string& name, Cpus cpus, Bytes memory) {
  Node* node = find_node(name);
  if (node == nullptr) return Error{Errc::InvalidArgument, fmt::format("the runtime has no node '{}'", name)};
  const NodeSpec spec{name, cpus, memory};
  if (auto valid = validate_node(spec); !valid) return valid;
  {
    const std::lock_guard lock(limits_mutex_);
    const std::lock_guard threads_lock(node->threads_mutex);  // A group for threads begins with the limits in force.
    Result<void> set;
    if (node->group) set = node->group->set_limits(limits_of(spec));
    if (set && node->thread_group) set = node->thread_group->set_limits(thread_limits_of(spec));
    if (!set) {
      // Some of them may have been changed.
      if (node->group) (void)node->group->set_limits(limits_of(node->spec()));
      if (node->thread_group) (void)node->thread_group->set_limits(thread_limits_of(node->spec()));
      return set;
    }
    node->set_spec(spec);
  }
  // Waits for a running round, whose callbacks may set limits as well: not under the lock. The last to come here finds
  // the limits of the last change.
  const NodeSpec now = node->spec();
  return monitor->set_limits(name, now.cpus, now.memory);
}

Node* RuntimeState::find_node(const std::string& name) noexcept {
  const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const auto& node) { return node->name == name; });
  return found == nodes.end() ? nullptr : found->get();
}

unsigned RuntimeState::threads_on(const Node* node) {
  // Threads beyond the quota only get throttled.
  return node == nullptr ? 1 : static_cast<unsigned>(std::max(1.0, std::floor(node->spec().cpus.count)));
}

ForkServer& RuntimeState::fork_server(unsigned threads) {
  const std::lock_guard lock(fork_servers_mutex_);
  return fork_servers_.try_emplace(threads, worker_executable_, threads).first->second;
}

Result<RuntimeState::Started> RuntimeState::start_worker(WorkerKind kind, Node* node) {
  if (node == nullptr || !capabilities.cpu_limits) {
    return kind == WorkerKind::thread ? start_thread(node) : start_process(node);
  }
  if (auto claimed = node->claim(kind); !claimed) return claimed.error();
  auto started = kind == WorkerKind::thread ? start_thread(node) : start_process(node);
  if (!started) node->release(kind);
  return started;
}

Result<RuntimeState::Started> RuntimeState::start_process(Node* node) {
  Started started;
  if (node == nullptr ? capabilities.memory_limits : node->group.has_value()) {
    const std::string parent = node == nullptr ? host_group_ + "/" + std::string(no_node) : node->group->path();
    auto made = cgroup::Group::create(hierarchy_, fmt::format("{}/worker-{}", parent, next_worker_++), {}, backend_);
    if (!made) return made.error();
    started.group.emplace(std::move(*made));
    started.quota_binds = node != nullptr && capabilities.cpu_limits;
  }
  auto worker = WorkerProcess::start(fork_server(threads_on(node)), [&](pid_t pid) -> Result<void> {
    if (node != nullptr && !started.quota_binds && !node->pinned_cpus.empty()) {
      if (auto pinned = pin(pid, node->pinned_cpus); !pinned) return pinned;
    }
    return started.group ? started.group->attach(pid) : Result<void>();
  });
  if (!worker) return worker.error();
  if (auto known = teach_operators(*worker); !known) return known.error();
  started.worker = std::make_unique<WorkerProcess>(std::move(*worker));
  return started;
}

Result<RuntimeState::Started> RuntimeState::start_thread(Node* node) {
  Started started;
  auto worker = WorkerThread::start(threads_on(node), [&](pid_t thread) -> Result<void> {
    if (node == nullptr) return {};
    Result<void> held = Error{Errc::CgroupUnavailable, "this kernel cannot limit the CPUs of threads"};
    if (capabilities.thread_groups) held = hold_thread(*node, thread);
    started.quota_binds = held.has_value();
    if (held) return held;
    if (options_.require_limits) {
      return Error{held.error().code, held.error().message + "; use worker processes"};
    }
    return node->pinned_cpus.empty() ? Result<void>() : pin(thread, node->pinned_cpus);
  });
  if (!worker) return worker.error();
  started.worker = std::move(*worker);
  return started;
}

Result<void> RuntimeState::hold_thread(Node& node, pid_t thread) {
  const std::lock_guard lock(node.threads_mutex);
  if (!node.thread_group) {
    auto name = cgroup::thread_group_name();
    if (!name) return name.error();
    const auto below = host_group_.find('/');  // Of a later runtime.
    if (below != std::string::npos) *name += host_group_.substr(below);
    auto group =
        cgroup::ThreadGroup::create(hierarchy_, *name + "/" + node.name, thread_limits_of(node.spec()), backend_);
    if (!group) return group.error();
    node.thread_group.emplace(std::move(*group));
  }
  return node.thread_group->attach(thread);
}

}  // namespace amp4ec::detail
