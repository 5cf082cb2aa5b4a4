// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/limits.hpp>
#include <amp4ec/model/model.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/profile.hpp>
#include <amp4ec/runtime/session.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace amp4ec {

class Monitor;
namespace detail {
class RuntimeState;
}

struct RuntimeOptions {
  /// Empty: $AMP4EC_WORKER, the program itself where it calls `worker_main`, beside it, or where it was installed.
  std::filesystem::path worker_executable;
  /// true: a limit that the kernel does not let us set is an error. false: work goes on without it, and
  /// `capabilities()` says so.
  bool require_limits = false;
  std::chrono::microseconds cpu_period{20'000};  ///< How often the kernel refills a CPU quota.
  /// What else holds a node, by its name: burst, weight, cpuset, memory_high, swap, pids. CPUs and memory are the
  /// NodeSpec's, the period is the one above. Of these, each that the kernel does not let us set is left out by itself.
  std::map<std::string, cgroup::Limits> group_limits;
  std::chrono::milliseconds sample_interval{1'000};  ///< Of the Monitor; 10 ms at the least.
};

/// What this runtime can do to hold its nodes, found out when it was created.
struct Capabilities {
  std::string cgroups;         ///< "v1", "v2", "hybrid" or "none".
  bool cpu_limits = false;     ///< CPU quotas bind.
  bool memory_limits = false;  ///< Memory limits bind.
  bool cpusets = false;        ///< Nodes can be held to certain CPUs (`RuntimeOptions::group_limits`).
  bool pid_limits = false;     ///< Nodes can be held to a number of processes and threads.
  bool freezing = false;       ///< The nodes' groups can be halted (`cgroup::Group::freeze`).
  bool thread_groups = false;  ///< Threads of the host can be held to a share of the CPUs (`cgroup::ThreadGroup`).
  /// Where quotas do not bind: each worker is pinned to as many CPUs as its node's quota rounds up to.
  bool cpu_affinity = false;
  /// Where memory limits do not bind: each worker's own allocations are limited, and fail beyond its node's limit
  /// (RLIMIT_DATA). Workers of one node are not added up.
  bool memory_rlimits = false;
  /// What was to be enforced and could not be, each with the reason; empty when everything binds.
  std::vector<std::string> missing;
};

/// How a profile is measured.
struct ProfileOptions {
  Form form = Form::Optimized;
  std::size_t max_cuts = 20;  ///< Cuts whose cost is measured, spread over the model; the others are interpolated.
  std::size_t runs = 7;       ///< Timed runs of each segment, after warming up.
  std::chrono::milliseconds timeout{120'000};                         ///< For one step of the worker that measures.
  std::function<void(std::size_t done, std::size_t total)> progress;  ///< Called on the calling thread.
};

/// Whether a profile was measured with this LibTorch on this kind of processor, so that its times hold here.
[[nodiscard]] bool was_measured_here(const Profile& profile);

/// Owns the nodes, their limits and the Monitor; sessions borrow it, so that several models on one node share its
/// quota. A move-only handle; thread-safe. One thread of its own serves all sessions. Sessions keep what they need
/// alive, so the order of destruction does not matter.
class Runtime {
 public:
  /// Makes the nodes' groups. Groups that a dead host left behind are removed first.
  /// @error InvalidArgument for the nodes, WorkerNotFound, and with `require_limits` what the kernel refuses.
  [[nodiscard]] static Result<Runtime> create(std::vector<NodeSpec> nodes, RuntimeOptions options = {});

  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();

  /// With the limits in force.
  [[nodiscard]] std::vector<NodeSpec> nodes() const;

  /// Changes a node's limits while its workers run; the Monitor's next sample carries them. Plans are not made anew,
  /// and workers that run keep their number of threads. Where limits do not bind (see `capabilities`), workers
  /// that start later get threads and memory by the new ones, and the CPUs of before. Lowering memory below what is in
  /// use makes the kernel reclaim; where it cannot, v1 refuses and v2 kills. @error InvalidArgument for the node or the
  /// limits, CgroupFailed: then the old limits stay.
  Result<void> set_limits(const std::string& node, Cpus cpus, Bytes memory);
  [[nodiscard]] const Capabilities& capabilities() const noexcept;
  [[nodiscard]] Monitor& monitor() noexcept;

  /// Starts a worker for each stage of the plan, connects them, warms them with the example and compares their answer
  /// with the unsplit model's. The example sets the size of the shared memory: give the largest that will be sent.
  /// Blocks until all of that is done; not on the runtime's own thread (NotSupported). @error PlanInvalid, CutRejected,
  /// InputMismatch, WorkerDied, OutOfMemory, WorkerUnresponsive, ExecutionFailed when the answers differ, SystemCall.
  [[nodiscard]] Result<Session> open(const Model& model, const Plan& plan, const Values& example,
                                     SessionOptions options = {});

  /// Measures what the layers and the cuts of a model cost, in a worker process without limits, on one thread.
  /// Blocks for seconds. @error InputMismatch, WorkerDied, WorkerUnresponsive, ExecutionFailed.
  [[nodiscard]] Result<Profile> profile(const Model& model, const Values& example, const ProfileOptions& options = {});

  /// Measures those stages of a plan that the profile only predicts, and adds them to it, so that the next plan made
  /// from it knows them: plan, refine, and plan again until nothing is left to measure (three or four times in all).
  /// Returns how many were measured. 0 too for a profile that was estimated, or measured with another processor or
  /// LibTorch: it stays as it is.
  /// @error ProfileInvalid for another model, and as `profile`.
  [[nodiscard]] Result<std::size_t> refine(Profile& profile, const Model& model, const Values& example,
                                           const Plan& plan, const ProfileOptions& options = {});

 private:
  friend class Baseline;
  explicit Runtime(std::shared_ptr<detail::RuntimeState> state) noexcept;

  std::shared_ptr<detail::RuntimeState> state_;
};

}  // namespace amp4ec
