// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/ipc/service_histogram.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

namespace amp4ec::ipc {

/// What a worker is doing.
enum class WorkerPhase : std::uint64_t {
  starting = 0,  ///< Loading, warming up.
  ready = 1,     ///< Waiting for a request.
  busy = 2,      ///< Executing a request.
  stopping = 3,  ///< Finishing; takes no more requests.
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
};

/// A worker's counters in shared memory: the worker writes, the host reads, neither ever waits. One writer at a time,
/// any number of readers. A new incarnation of a worker gets new counters. The reader trusts nothing here: any figure
/// may be anything, and may fall.
class WorkerCounters {
 public:
  /// The host's side. @error SystemCall.
  static Result<WorkerCounters> create() {
    auto file = MemoryFile::create("amp4ec-counters", Bytes{sizeof(Words)});
    if (!file) return file.error();
    return over(std::move(*file));
  }

  /// The worker's side, from the host's `fd()`. @error ProtocolViolation, SystemCall.
  static Result<WorkerCounters> attach(UniqueFd fd) {
    auto file = MemoryFile::adopt(std::move(fd));
    if (!file) return file.error();
    if (file->size().count != sizeof(Words)) {
      return Error{Errc::ProtocolViolation, fmt::format("{} bytes are not a worker's counters", file->size().count)};
    }
    return over(std::move(*file));
  }

  void set_phase(WorkerPhase phase) {
    set(&Words::phase, static_cast<std::uint64_t>(phase));
    beat();
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
    auto& bucket = words_->service_times[ServiceHistogram::bucket_of(service)];
    set(bucket, get(bucket) + 1);
    if (!succeeded) add(&Words::errors, 1);
    add(&Words::requests, 1);
    set_phase(WorkerPhase::ready);
  }

  /// Each figure is whole; together they may be of slightly different moments. `requests` is read first and written
  /// after the sums, so a mean over it never lacks time. @error ProtocolViolation when the phase is none of ours.
  [[nodiscard]] Result<WorkerStats> snapshot() const {
    WorkerStats stats;
    stats.requests = get(&Words::requests);
    stats.errors = get(&Words::errors);
    stats.busy_ns = get(&Words::busy_ns);
    stats.hop_ns = get(&Words::hop_ns);
    stats.current_request = get(&Words::current_request);
    stats.heartbeat_ns = get(&Words::heartbeat_ns);
    stats.queued = get(&Words::queued);
    stats.received_bytes = get(&Words::received_bytes);
    stats.sent_bytes = get(&Words::sent_bytes);
    const std::uint64_t phase = get(&Words::phase);
    if (phase > static_cast<std::uint64_t>(WorkerPhase::stopping)) {
      return Error{Errc::ProtocolViolation, fmt::format("a worker's counters claim phase {}", phase)};
    }
    stats.phase = static_cast<WorkerPhase>(phase);
    return stats;
  }

  /// How long the completed requests took; to be read after `snapshot`, whose requests are then all in here.
  [[nodiscard]] ServiceHistogram service_times() const noexcept {
    ServiceHistogram times;
    for (std::size_t i = 0; i < ServiceHistogram::buckets; ++i) times.counts[i] = get(words_->service_times[i]);
    return times;
  }

  /// To be sent to the worker.
  [[nodiscard]] int fd() const noexcept { return file_.fd(); }

 private:
  struct alignas(64) Words {
    std::uint64_t phase, requests, errors, busy_ns, hop_ns, current_request, heartbeat_ns, queued;
    std::uint64_t received_bytes, sent_bytes;
    std::array<std::uint64_t, ServiceHistogram::buckets> service_times;
  };
  using Field = std::uint64_t Words::*;
  static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

  WorkerCounters(MemoryFile file, Mapping<std::byte> mapping) noexcept
      : file_(std::move(file)),
        mapping_(std::move(mapping)),
        words_(reinterpret_cast<Words*>(mapping_.bytes().data())) {}

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

  MemoryFile file_;
  Mapping<std::byte> mapping_;
  Words* words_;
};

}  // namespace amp4ec::ipc
