// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/edge.hpp>
#include <amp4ec/ipc/event_fd.hpp>

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
      return *this;
    }
    ~Slot() {
      if (state_) state_->free.push_back(number_);
    }

    /// All of the slot, 64-byte aligned. Its content is what an earlier message left.
    [[nodiscard]] std::span<std::byte> payload() const noexcept { return state_->memory.payload(number_); }

   private:
    friend class EdgeProducer;
    Slot(std::shared_ptr<State> state, std::uint32_t number) noexcept : state_(std::move(state)), number_(number) {}
    std::shared_ptr<State> state_;
    std::uint32_t number_ = 0;
  };

  /// Becomes the edge's producer. `consumer_bell` is rung after each publish. The edge may go afterwards.
  /// @error ProtocolViolation when the edge was used before, SystemCall.
  static Result<EdgeProducer> attach(const Edge& edge, EventFd consumer_bell) {
    auto memory = edge.map();
    if (!memory) return memory.error();
    if (memory->published().load(std::memory_order_relaxed) != 0) {
      return Error{Errc::ProtocolViolation, "an edge takes one producer in its life, and this one has had it"};
    }
    return EdgeProducer(std::make_shared<State>(std::move(*memory)), std::move(consumer_bell));
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
  /// @error MessageTooLarge, InvalidArgument (a slot of another edge, an impossible route): the slot is free again.
  /// SystemCall: the message is published, but the bell could not be rung.
  Result<void> publish(Slot slot, Descriptor descriptor) {
    State& state = *state_;
    if (slot.state_ != state_) return Error{Errc::InvalidArgument, "publish of a slot that is not from this edge"};
    if (descriptor.length > state.memory.layout().slot_bytes) {
      return Error{Errc::MessageTooLarge, fmt::format("message of {} bytes in a slot of {}", descriptor.length,
                                                      state.memory.layout().slot_bytes)};
    }
    if (descriptor.route_length > Descriptor::max_route || descriptor.hop > descriptor.route_length) {
      return Error{Errc::InvalidArgument,
                   fmt::format("message at hop {} of a route of {} workers; at most {} are allowed", descriptor.hop,
                               descriptor.route_length, Descriptor::max_route)};
    }
    descriptor.slot = slot.number_;
    descriptor.sent_ns = monotonic_ns();
    state.with_consumer[slot.number_] = true;
    slot.state_.reset();
    state.memory.store_descriptor(state.published, descriptor);
    state.memory.published().store(++state.published, std::memory_order_release);
    return consumer_bell_.signal();
  }

  /// Whether `try_acquire` would give a slot or an error. Cheap.
  [[nodiscard]] bool slot_available() { return !state_->free.empty() || state_->broken || freed_any(); }

 private:
  struct State {
    explicit State(detail::EdgeMemory mapped)
        : memory(std::move(mapped)), free(memory.layout().slots), with_consumer(memory.layout().slots) {
      std::iota(free.rbegin(), free.rend(), 0U);
    }
    detail::EdgeMemory memory;
    std::vector<std::uint32_t> free;  // never grows past the number of slots: no allocation after attach
    std::vector<bool> with_consumer;
    std::uint64_t published = 0;
    std::uint64_t taken_back = 0;
    bool broken = false;
  };

  EdgeProducer(std::shared_ptr<State> state, EventFd consumer_bell) noexcept
      : state_(std::move(state)), consumer_bell_(std::move(consumer_bell)) {}

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
      state.free.push_back(number);
    }
    return true;
  }

  std::shared_ptr<State> state_;
  EventFd consumer_bell_;
};

}  // namespace amp4ec::ipc
