// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/edge.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::ipc {

/// The end of an Edge that writes: acquire a slot, write into it, publish it.
/// The producer and its slots belong to one thread at a time. Nothing here blocks; to wait for a free slot:
/// `wait_until(own_bell, [&] { return producer.slot_available(); }, timeout)`.
class EdgeProducer {
  struct State;

 public:
  /// A payload slot on loan. Goes back to the free ones if it is not published. Keeps the edge's memory mapped.
  class Slot {
   public:
    Slot(Slot&& other) noexcept = default;
    Slot& operator=(Slot&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(number_, other.number_);
      std::swap(own_file_, other.own_file_);
      return *this;
    }
    ~Slot() {
      if (state_) state_->free.push_back(number_);
    }

    /// All of the slot, 64-byte aligned. Its content is what an earlier message left.
    [[nodiscard]] std::span<std::byte> payload() const noexcept {
      return own_file_ ? own_file_->second.bytes() : state_->memory.payload(number_);
    }

    /// Makes `payload()` hold a message of `size` bytes. One that is larger than the edge's slots gets a memory file of
    /// exactly its size, charged to the caller's cgroup until the consumer has let go of the message; what was written
    /// before is not in it. @error MessageTooLarge for more than an edge ever takes, SystemCall (among others: the
    /// memory or the descriptors are not there); the payload is as it was.
    [[nodiscard]] Result<void> reserve(Bytes size) {
      if (size.count <= payload().size()) return {};
      if (size.count > detail::EdgeLayout::max_slot_bytes) {
        return Error{Errc::MessageTooLarge, fmt::format("message of {}", format_bytes(size))};
      }
      auto file = MemoryFile::create_with_one_writer("amp4ec-message", size);
      if (!file) return file.error();
      own_file_.emplace(std::move(*file));
      return {};
    }

   private:
    friend class EdgeProducer;
    Slot(std::shared_ptr<State> state, std::uint32_t number) noexcept : state_(std::move(state)), number_(number) {}
    std::shared_ptr<State> state_;
    std::uint32_t number_ = 0;
    std::optional<std::pair<MemoryFile, Mapping<std::byte>>> own_file_;
  };

  /// Becomes the edge's producer. `consumer_bell` is rung after each publish. The edge may go afterwards.
  /// @error ProtocolViolation when the edge was used before, SystemCall.
  static Result<EdgeProducer> attach(const Edge& edge, Bell consumer_bell) {
    auto memory = edge.map();
    if (!memory) return memory.error();
    if (memory->published().load(std::memory_order_relaxed) != 0) {
      return Error{Errc::ProtocolViolation, "an edge takes one producer in its life, and this one has had it"};
    }
    auto files = edge.producer_files_.duplicate();
    if (!files) return files.error();
    return EdgeProducer(std::make_shared<State>(std::move(*memory)), std::move(consumer_bell), std::move(*files));
  }

  /// A free slot, or none while the consumer holds them all: that is the edge's back-pressure. After "none" the
  /// consumer rings this side's bell when it frees one. @error ProtocolViolation, from then on always: drop the edge.
  [[nodiscard]] Result<std::optional<Slot>> try_acquire() {
    State& state = *state_;
    if (state.free.empty() && freed_any() && !take_freed()) state.broken = true;
    if (state.broken)
      return Error{Errc::ProtocolViolation, "the consumer of an edge freed a slot that it does not hold"};
    if (state.free.empty()) return std::optional<Slot>{};
    // The slot freed last is the one most likely still in a cache.
    const std::uint32_t number = state.free.back();
    state.free.pop_back();
    return std::optional<Slot>(Slot(state_, number));
  }

  /// Hands the slot and `descriptor.length` bytes of it to the consumer. Sets `slot` and `sent_ns` of the descriptor.
  /// `lease` is kept until the consumer has let go of the message, as far as `collect` and `try_acquire` look.
  /// Blocks only for a message in a file of its own, while the consumer has left hundreds of such files unread, at most
  /// `patience`.
  /// @error MessageTooLarge, InvalidArgument (a slot of another edge, a length that is not the one reserved in a file
  /// of its own, an impossible route), and for a file that could not be sent WorkerUnresponsive (after `patience`) and
  /// WorkerDied, SystemCall. After an error nothing is published and the slot is free again.
  Result<void> publish(Slot slot, Descriptor descriptor,
                       std::chrono::nanoseconds patience = std::chrono::nanoseconds{0},
                       std::shared_ptr<const void> lease = nullptr) {
    State& state = *state_;
    if (slot.state_ != state_) return Error{Errc::InvalidArgument, "publish of a slot that is not from this edge"};
    if (descriptor.length > slot.payload().size()) {
      return Error{Errc::MessageTooLarge,
                   fmt::format("message of {} bytes in a slot of {}", descriptor.length, slot.payload().size())};
    }
    if (slot.own_file_ && descriptor.length != slot.payload().size()) {
      return Error{Errc::InvalidArgument, fmt::format("message of {} bytes in a file of its own of {}",
                                                      descriptor.length, slot.payload().size())};
    }
    if (descriptor.route_length > Descriptor::max_route || descriptor.hop > descriptor.route_length) {
      return Error{Errc::InvalidArgument,
                   fmt::format("message at hop {} of a route of {} workers; at most {} are allowed", descriptor.hop,
                               descriptor.route_length, Descriptor::max_route)};
    }
    if (slot.own_file_) {
      const std::array fds{slot.own_file_->first.fd()};
      if (auto sent = files_.send(detail::EdgeLayout::file_text, fds, patience); !sent) return sent;
    }
    descriptor.slot = slot.number_;
    descriptor.sent_ns = monotonic_ns();
    state.with_consumer[slot.number_] = true;
    state.leases[slot.number_] = std::move(lease);
    slot.state_.reset();
    state.memory.store_descriptor(state.published, descriptor);
    state.memory.published().store(++state.published, std::memory_order_release);
    (void)consumer_bell_.signal();  // It cannot fail: the pipe is open, and ours.
    return {};
  }

  /// Gives up the leases of messages that the consumer has let go of. Cheap.
  void collect() {
    State& state = *state_;
    if (!state.broken && freed_any() && !take_freed()) state.broken = true;
  }

  /// Whether `try_acquire` would give a slot or an error. Cheap.
  [[nodiscard]] bool slot_available() { return !state_->free.empty() || state_->broken || freed_any(); }

 private:
  struct State {
    explicit State(detail::EdgeMemory mapped)
        : memory(std::move(mapped)),
          free(memory.layout().slots),
          with_consumer(memory.layout().slots),
          leases(memory.layout().slots) {
      std::iota(free.rbegin(), free.rend(), 0U);
    }
    detail::EdgeMemory memory;
    std::vector<std::uint32_t> free;  // never grows past the number of slots: no allocation after attach
    std::vector<bool> with_consumer;
    std::vector<std::shared_ptr<const void>> leases;
    std::uint64_t published = 0;
    std::uint64_t taken_back = 0;
    bool broken = false;
  };

  EdgeProducer(std::shared_ptr<State> state, Bell consumer_bell, ControlChannel files) noexcept
      : state_(std::move(state)), consumer_bell_(std::move(consumer_bell)), files_(std::move(files)) {}

  /// Whether the consumer has freed slots since the last look. If not, asks it to ring and looks once more: the
  /// consumer stores its counter and then reads the wish, this side the other way round, all in one total order, so
  /// at least one of the two sees the other.
  bool freed_any() {
    const detail::EdgeMemory& memory = state_->memory;
    if (memory.freed().load(std::memory_order_acquire) != state_->taken_back) return true;
    memory.slot_wanted().store(1, std::memory_order_seq_cst);
    return memory.freed().load(std::memory_order_seq_cst) != state_->taken_back;
  }

  /// Moves all freed slots to the free ones. False when the consumer freed what it does not hold.
  bool take_freed() {
    State& state = *state_;
    const std::uint64_t freed = state.memory.freed().load(std::memory_order_acquire);
    // A counter that went back or ran ahead ends the loop as well: each slot passes the check once.
    for (; state.taken_back != freed; ++state.taken_back) {
      const std::uint32_t number = state.memory.freed_slot(state.taken_back).load(std::memory_order_relaxed);
      if (number >= state.memory.layout().slots || !state.with_consumer[number]) return false;
      state.with_consumer[number] = false;
      state.leases[number].reset();
      state.free.push_back(number);
    }
    return true;
  }

  std::shared_ptr<State> state_;
  Bell consumer_bell_;
  ControlChannel files_;
};

}  // namespace amp4ec::ipc
