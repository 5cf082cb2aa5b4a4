// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/edge.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::ipc {

/// The end of an Edge that reads. It belongs to one thread at a time; its messages may go on any thread. Nothing here
/// blocks; to wait for a message: `wait_until(own_bell, [&] { return consumer.pending(); }, timeout)`, with `pending()`
/// of every edge that rings the bell.
class EdgeConsumer {
  struct State;

 public:
  /// A message on loan: its slot goes back to the producer when it is destroyed. That may happen on any thread, after
  /// the consumer itself is gone too (the deleter of a tensor's storage). Keeps the edge's memory mapped. Move-only.
  class Message {
   public:
    Message(Message&& other) noexcept = default;
    Message& operator=(Message&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(descriptor_, other.descriptor_);
      std::swap(own_file_, other.own_file_);
      return *this;
    }
    ~Message() {
      if (state_) state_->release(descriptor_.slot);
    }

    /// A checked copy: slot, length, kind and route are in range; all else is what the peer wrote.
    [[nodiscard]] const Descriptor& descriptor() const noexcept { return descriptor_; }

    /// `descriptor().length` bytes, 64-byte aligned, until the message goes; writing is a segmentation fault. A hostile
    /// producer can still write here: what is checked in the payload must be copied first.
    [[nodiscard]] std::span<const std::byte> payload() const noexcept {
      return own_file_ ? own_file_->bytes() : state_->memory.payload(descriptor_.slot).first(descriptor_.length);
    }

   private:
    friend class EdgeConsumer;
    Message(std::shared_ptr<State> state, const Descriptor& descriptor) noexcept
        : state_(std::move(state)), descriptor_(descriptor) {}
    std::shared_ptr<State> state_;
    Descriptor descriptor_;
    std::optional<Mapping<const std::byte>> own_file_;
  };

  /// Becomes the edge's consumer. `producer_bell` is rung when a slot is freed that the producer waits for. The edge
  /// may go afterwards. @error ProtocolViolation when the edge was used before, SystemCall.
  static Result<EdgeConsumer> attach(const Edge& edge, Bell producer_bell) {
    auto memory = edge.map();
    if (!memory) return memory.error();
    if (memory->freed().load(std::memory_order_relaxed) != 0) {
      return Error{Errc::ProtocolViolation, "an edge takes one consumer in its life, and this one has had it"};
    }
    if (auto done = memory->make_payload_read_only(); !done) return done.error();
    auto files = edge.consumer_files_.duplicate();
    if (!files) return files.error();
    return EdgeConsumer(std::make_shared<State>(std::move(*memory), std::move(producer_bell)), std::move(*files));
  }

  /// The next message, or none. @error ProtocolViolation, SystemCall (this process has no descriptor or no address
  /// space left for a message in a file of its own); from then on always: drop the edge.
  [[nodiscard]] Result<std::optional<Message>> try_receive() {
    if (failure_) return *failure_;
    if (received_ == published_) {
      published_ = state_->memory.published().load(std::memory_order_acquire);
      if (published_ - received_ > state_->memory.layout().slots) return fail(violation("more messages than slots"));
    }
    if (received_ == published_) return std::optional<Message>{};
    const Descriptor descriptor = state_->memory.load_descriptor(received_);
    if (const char* wrong = state_->take(descriptor); wrong != nullptr) return fail(violation(wrong));
    Message message(state_, descriptor);
    if (descriptor.length > state_->memory.layout().slot_bytes) {
      auto file = receive_file(Bytes{descriptor.length});
      if (!file) return fail(file.error());
      message.own_file_.emplace(std::move(*file));
    }
    ++received_;
    return std::optional<Message>(std::move(message));
  }

  /// Whether `try_receive` would give a message or an error. Cheap.
  [[nodiscard]] bool pending() const noexcept {
    return failure_ || received_ != published_ ||
           received_ != state_->memory.published().load(std::memory_order_acquire);
  }

  /// How many messages wait, at most as many as the edge has slots. Cheap.
  [[nodiscard]] std::uint64_t waiting() const noexcept {
    const std::uint64_t published = state_->memory.published().load(std::memory_order_acquire);
    return std::min<std::uint64_t>(published - received_, state_->memory.layout().slots);
  }

 private:
  struct State {
    State(detail::EdgeMemory mapped, Bell bell)
        : memory(std::move(mapped)), producer_bell(std::move(bell)), held(memory.layout().slots) {}

    /// Checks a descriptor and notes its slot as held. Returns what is wrong with it, or null.
    const char* take(const Descriptor& descriptor) {
      if (descriptor.slot >= memory.layout().slots) return "a slot that does not exist";
      if (descriptor.length > detail::EdgeLayout::max_slot_bytes) return "a message of impossible length";
      if (descriptor.kind > MessageKind::input) return "a message of unknown kind";
      if (descriptor.route_length > Descriptor::max_route || descriptor.hop > descriptor.route_length) {
        return "a message with an impossible route";
      }
      const std::lock_guard lock(mutex);
      if (held[descriptor.slot]) return "a slot that it does not own";
      held[descriptor.slot] = true;
      return nullptr;
    }

    /// The ring of freed slots takes one writer, and messages may go on any thread: hence the lock, in process memory.
    void release(std::uint32_t slot) {
      const std::lock_guard lock(mutex);
      held[slot] = false;
      memory.freed_slot(freed).store(slot, std::memory_order_relaxed);
      // Sequentially consistent, as in EdgeProducer::freed_any: either the wish is seen here or the slot there.
      memory.freed().store(++freed, std::memory_order_seq_cst);
      if (memory.slot_wanted().load(std::memory_order_seq_cst) == 0) return;
      memory.slot_wanted().store(0, std::memory_order_seq_cst);
      // A bell that fails is a producer that is gone; whoever watches that process says so.
      static_cast<void>(producer_bell.signal());
    }

    const detail::EdgeMemory memory;
    const Bell producer_bell;
    std::mutex mutex;        // guards what follows
    std::vector<bool> held;  // slots with this side: each is freed once, whatever the producer claims
    std::uint64_t freed = 0;
  };

  EdgeConsumer(std::shared_ptr<State> state, ControlChannel files) noexcept
      : state_(std::move(state)), files_(std::move(files)) {}

  static Error violation(std::string_view what) {
    return {Errc::ProtocolViolation, fmt::format("the producer of an edge published {}", what)};
  }
  Error fail(Error error) { return failure_.emplace(std::move(error)); }

  /// The file of a message that its slot cannot hold. The producer sends it before it publishes: it is here, or never
  /// comes. Its descriptor is not kept.
  [[nodiscard]] Result<Mapping<const std::byte>> receive_file(Bytes length) const {
    auto received = files_.receive(std::chrono::nanoseconds{0});
    const bool absent = !received && (received.error().code == Errc::WorkerUnresponsive ||  // Nothing was sent.
                                      received.error().code == Errc::WorkerDied);
    if (!received && !absent) return received.error();
    if (absent || received->fds.size() != 1) return violation("a message longer than its slot, without one file");
    auto file = MemoryFile::adopt_with_one_writer(std::move(received->fds.front()));
    if (!file) return file.error();
    if (file->size() != length) return violation("a message of another length than its file");
    return file->map_read_only(MemoryFile::Prefault::yes);
  }

  std::shared_ptr<State> state_;
  ControlChannel files_;
  std::uint64_t received_ = 0;
  std::uint64_t published_ = 0;  // last seen: the producer's cache line is read only when this is used up
  std::optional<Error> failure_;
};

}  // namespace amp4ec::ipc
