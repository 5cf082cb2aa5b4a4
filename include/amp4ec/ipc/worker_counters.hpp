// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/ipc/service_histogram.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <unistd.h>

namespace amp4ec::ipc {

/// What a worker is doing.
enum class WorkerPhase : std::uint64_t {
  starting = 0,  ///< Loading, warming up.
  ready = 1,     ///< Waiting for a request.
  busy = 2,      ///< Executing a request.
  stopping = 3,  ///< Finishing; takes no more requests.
};

/// The layers of the segment that a worker executes.
struct LayerRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;

  bool operator==(const LayerRange&) const = default;
};

/// A reading of a worker's counters. Sums grow from the worker's start; differences of two readings give rates.
struct WorkerStats {
  WorkerPhase phase = WorkerPhase::starting;
  std::uint64_t requests = 0;         ///< Completed, errors included.
  std::uint64_t errors = 0;           ///< Completed with an error.
  std::uint64_t busy_ns = 0;          ///< Sum of service times of completed requests.
  std::uint64_t hop_ns = 0;           ///< Sum of times from a message's `sent_ns` to its receipt.
  std::uint64_t current_request = 0;  ///< Id of the request in execution; meaningful while busy.
  std::uint64_t heartbeat_ns = 0;     ///< `monotonic_ns()` of the last sign of life.
  std::uint64_t queued = 0;           ///< Messages that wait in front of the worker.
  std::uint64_t received_bytes = 0;   ///< Of the messages taken from rings.
  std::uint64_t sent_bytes = 0;       ///< Of the messages written into rings.
  std::uint64_t thread = 0;           ///< Kernel id of the thread that serves, as its process sees it; 0: none yet.
  std::optional<LayerRange> layers;   ///< What it executes; nothing where the host has not said so.
};

/// When a worker executed a request, by `monotonic_ns()`.
struct Execution {
  std::uint64_t begin_ns = 0;
  std::uint64_t end_ns = 0;
};

/// A worker's counters in shared memory: the worker writes, the host reads, neither ever waits. One writer at a time
/// (`set_layers` is the host's), any number of readers. A new incarnation of a worker gets new counters. The reader
/// trusts nothing here: any figure may be anything, and may fall.
class WorkerCounters {
 public:
  static constexpr const char* file_name = "amp4ec-counters";  ///< As /proc shows it.
  static constexpr std::size_t kept_executions = 256;          ///< More than any pipeline holds.

  /// The host's side. @error SystemCall.
  static Result<WorkerCounters> create() {
    auto file = MemoryFile::create(file_name, Bytes{sizeof(Words)});
    if (!file) return file.error();
    return over(std::move(*file));
  }

  /// The worker's side, from the host's `fd()`; to be called on the thread that serves, whose id is noted.
  /// @error ProtocolViolation, SystemCall.
  static Result<WorkerCounters> attach(UniqueFd fd) {
    auto file = adopt(std::move(fd));
    if (!file) return file.error();
    auto counters = over(std::move(*file));
    if (counters) counters->set(&Words::thread, static_cast<std::uint64_t>(::gettid()));
    return counters;
  }

  /// For onlookers; the host's to say. Layers that 32 bits cannot number are not told.
  void set_layers(std::uint64_t first, std::uint64_t last) {
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    set(&Words::layers, first < most && last < most ? first << 32U | (last + 1) : 0);
  }

  void set_phase(WorkerPhase phase) {
    beat();  // First: a reader that sees the phase sees a heartbeat that is not older.
    set(&Words::phase, static_cast<std::uint64_t>(phase));
  }
  void set_queued(std::uint64_t messages) { set(&Words::queued, messages); }
  void beat() { set(&Words::heartbeat_ns, monotonic_ns()); }

  void add_received(Bytes message) { add(&Words::received_bytes, message.count); }
  void add_sent(Bytes message) { add(&Words::sent_bytes, message.count); }

  /// A request's execution starts; its message took `hop` to arrive.
  void begin(std::uint64_t request_id, std::chrono::nanoseconds hop) {
    add(&Words::hop_ns, static_cast<std::uint64_t>(hop.count()));
    set(&Words::current_request, request_id);
    set_phase(WorkerPhase::busy);
  }
  /// It ended after `service`.
  void complete(std::chrono::nanoseconds service, bool succeeded) {
    add(&Words::busy_ns, static_cast<std::uint64_t>(service.count()));
    keep_execution(static_cast<std::uint64_t>(service.count()));
    auto& bucket = words_->service_times[ServiceHistogram::bucket_of(service)];
    set(bucket, get(bucket) + 1);
    if (!succeeded) add(&Words::errors, 1);
    add(&Words::requests, 1);
    set_phase(WorkerPhase::ready);
  }

  /// Each figure is whole; together they may be of slightly different moments. `requests` is read first and written
  /// after the sums, so a mean over it never lacks time. @error ProtocolViolation when the phase is none of ours.
  [[nodiscard]] Result<WorkerStats> snapshot() const { return stats_in(*words_); }

  /// How long the completed requests took; to be read after `snapshot`, whose requests are then all in here.
  [[nodiscard]] ServiceHistogram service_times() const noexcept { return times_in(*words_); }

  /// When the worker executed a request, if it was one of the last `kept_executions` that it completed. Nothing as well
  /// when the worker is just writing another over it.
  [[nodiscard]] std::optional<Execution> execution_of(std::uint64_t request_id) const noexcept {
    auto& kept = words_->executions[request_id % kept_executions];
    if (get(kept.request) != request_id) return std::nullopt;
    const Execution execution{get(kept.begin_ns), get(kept.end_ns)};
    if (get(kept.request) != request_id) return std::nullopt;
    return execution;
  }

  /// To be sent to the worker.
  [[nodiscard]] int fd() const noexcept { return file_.fd(); }

 private:
  friend class WorkerCountersView;
  struct KeptExecution {
    std::uint64_t request, begin_ns, end_ns;
  };
  struct alignas(64) Words {
    std::uint64_t phase, requests, errors, busy_ns, hop_ns, current_request, heartbeat_ns, queued;
    std::uint64_t received_bytes, sent_bytes;
    std::array<std::uint64_t, ServiceHistogram::buckets> service_times;
    std::array<KeptExecution, kept_executions> executions;
    // What came later stands here, where earlier versions have padding: 0, which means nothing.
    std::uint64_t thread;
    std::uint64_t layers;  ///< One word, so that it is read whole: first << 32 | last + 1.
  };
  static_assert(sizeof(Words) == std::size_t{1008} * sizeof(std::uint64_t), "the size stands for the layout's version");
  using Field = std::uint64_t Words::*;
  static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

  WorkerCounters(MemoryFile file, Mapping<std::byte> mapping) noexcept
      : file_(std::move(file)),
        mapping_(std::move(mapping)),
        words_(reinterpret_cast<Words*>(mapping_.bytes().data())) {}

  static Result<MemoryFile> adopt(UniqueFd fd) {
    auto file = MemoryFile::adopt(std::move(fd));
    if (file && file->size().count != sizeof(Words)) {
      return Error{Errc::ProtocolViolation, fmt::format("{} bytes are not a worker's counters", file->size().count)};
    }
    return file;
  }

  static Result<WorkerCounters> over(MemoryFile file) {
    auto mapping = file.map(MemoryFile::Prefault::yes);
    if (!mapping) return mapping.error();
    return WorkerCounters(std::move(file), std::move(*mapping));
  }

  // One writer: a load and a store are enough, and cheaper than a locked addition.
  static void set(std::uint64_t& word, std::uint64_t value) noexcept {
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  [[nodiscard]] static std::uint64_t get(std::uint64_t& word) noexcept {
    return std::atomic_ref(word).load(std::memory_order_acquire);
  }
  void set(Field field, std::uint64_t value) { set(words_->*field, value); }
  void add(Field field, std::uint64_t amount) { set(field, get(field) + amount); }
  [[nodiscard]] std::uint64_t get(Field field) const { return get(words_->*field); }

  void keep_execution(std::uint64_t service_ns) {
    const std::uint64_t request = get(&Words::current_request);
    const std::uint64_t now = monotonic_ns();
    auto& kept = words_->executions[request % kept_executions];
    set(kept.request, ~request);  // Belongs to nobody while it changes.
    set(kept.begin_ns, now - service_ns);
    set(kept.end_ns, now);
    set(kept.request, request);
  }

  static Result<WorkerStats> stats_in(Words& words) {
    WorkerStats stats;
    const std::uint64_t phase = get(words.phase);  // Before the heartbeat: see `set_phase`.
    stats.heartbeat_ns = get(words.heartbeat_ns);
    stats.requests = get(words.requests);
    stats.errors = get(words.errors);
    stats.busy_ns = get(words.busy_ns);
    stats.hop_ns = get(words.hop_ns);
    stats.current_request = get(words.current_request);
    stats.queued = get(words.queued);
    stats.received_bytes = get(words.received_bytes);
    stats.sent_bytes = get(words.sent_bytes);
    stats.thread = get(words.thread);
    stats.layers = layers_in(get(words.layers));
    if (phase > static_cast<std::uint64_t>(WorkerPhase::stopping)) {
      return Error{Errc::ProtocolViolation, fmt::format("a worker's counters claim phase {}", phase)};
    }
    stats.phase = static_cast<WorkerPhase>(phase);
    return stats;
  }
  static std::optional<LayerRange> layers_in(std::uint64_t word) noexcept {
    const auto first = static_cast<std::uint32_t>(word >> 32U);
    const auto end = static_cast<std::uint32_t>(word);
    if (first >= end) return std::nullopt;
    return LayerRange{first, end - 1};
  }
  static ServiceHistogram times_in(Words& words) noexcept {
    ServiceHistogram times;
    for (std::size_t i = 0; i < ServiceHistogram::buckets; ++i) times.counts[i] = get(words.service_times[i]);
    return times;
  }

  MemoryFile file_;
  Mapping<std::byte> mapping_;
  Words* words_;
};

/// An onlooker's side of a worker's counters: it can change nothing, its mapping is read-only. Any number at once.
class WorkerCountersView {
 public:
  /// From a descriptor of the counters that may be open for reading only. @error ProtocolViolation, SystemCall.
  static Result<WorkerCountersView> open(UniqueFd fd) {
    auto file = WorkerCounters::adopt(std::move(fd));
    if (!file) return file.error();
    auto mapping = file->map_read_only();
    if (!mapping) return mapping.error();
    return WorkerCountersView(std::move(*mapping));
  }

  /// As `WorkerCounters::snapshot`.
  [[nodiscard]] Result<WorkerStats> snapshot() const { return WorkerCounters::stats_in(words()); }
  /// As `WorkerCounters::service_times`.
  [[nodiscard]] ServiceHistogram service_times() const noexcept { return WorkerCounters::times_in(words()); }

 private:
  // C++20 has no atomic_ref of a const object; lock-free loads write nothing.
  [[nodiscard]] WorkerCounters::Words& words() const noexcept {
    return *reinterpret_cast<WorkerCounters::Words*>(const_cast<std::byte*>(mapping_.bytes().data()));
  }

  explicit WorkerCountersView(Mapping<const std::byte> mapping) noexcept : mapping_(std::move(mapping)) {}
  Mapping<const std::byte> mapping_;
};

}  // namespace amp4ec::ipc
