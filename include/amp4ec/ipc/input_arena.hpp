// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>
#include <amp4ec/ipc/memory_file.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::ipc {

/// Where a session keeps its requests' inputs until they are answered: whoever executes the first stage reads them in
/// place, and a request whose worker died is sent again without a copy. One process writes; the kernel lets no other.
/// Thread-safe, slots included.
class InputArena {
  struct State;

 public:
  /// A slot on loan, free again when it goes. Keeps the memory mapped.
  class Slot {
   public:
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      const std::lock_guard lock(state_->mutex);
      state_->free.push_back(number_);
    }

    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
    /// All of the slot, 64-byte aligned. Its content is what an earlier request left.
    [[nodiscard]] std::span<std::byte> payload() const noexcept {
      return state_->mapping.bytes().subspan(number_ * state_->slot_bytes.count, state_->slot_bytes.count);
    }

   private:
    friend class InputArena;
    Slot(std::shared_ptr<State> state, std::uint32_t number) noexcept : state_(std::move(state)), number_(number) {}
    const std::shared_ptr<State> state_;
    const std::uint32_t number_;
  };

  /// `slots` slots of `slot_bytes`, rounded up to 64. All pages are allocated, and charged to the caller's cgroup,
  /// here.
  /// @error InvalidArgument, SystemCall.
  static Result<InputArena> create(std::uint32_t slots, Bytes slot_bytes) {
    constexpr std::uint64_t line = 64;
    const Bytes rounded{(slot_bytes.count + line - 1) / line * line};
    if (slots == 0 || rounded.count == 0 || rounded.count < slot_bytes.count || rounded.count > ~0ULL / slots) {
      return Error{Errc::InvalidArgument,
                   fmt::format("{} slots of {} bytes for the inputs of requests", slots, slot_bytes.count)};
    }
    auto made = MemoryFile::create_with_one_writer("amp4ec-inputs", slots * rounded);
    if (!made) return made.error();
    return InputArena(std::move(made->first), std::make_shared<State>(std::move(made->second), rounded, slots));
  }

  /// Null while all slots are on loan.
  [[nodiscard]] std::shared_ptr<const Slot> try_acquire() {
    const std::lock_guard lock(state_->mutex);
    if (state_->free.empty()) return nullptr;
    // The slot freed last is the one most likely still in a cache.
    std::shared_ptr<const Slot> slot(new Slot(state_, state_->free.back()));
    state_->free.pop_back();
    return slot;
  }

  [[nodiscard]] Bytes slot_bytes() const noexcept { return state_->slot_bytes; }
  /// To be sent to those who execute first stages, with `slot_bytes`.
  [[nodiscard]] int fd() const noexcept { return file_.fd(); }

 private:
  struct State {
    State(Mapping<std::byte> memory, Bytes bytes, std::uint32_t slots)
        : mapping(std::move(memory)), slot_bytes(bytes), free(slots) {
      std::iota(free.rbegin(), free.rend(), 0U);
    }
    const Mapping<std::byte> mapping;
    const Bytes slot_bytes;
    std::mutex mutex;
    std::vector<std::uint32_t> free;  ///< Guarded; never grows past the number of slots.
  };

  InputArena(MemoryFile file, std::shared_ptr<State> state) noexcept
      : file_(std::move(file)), state_(std::move(state)) {}

  MemoryFile file_;
  std::shared_ptr<State> state_;
};

/// The reader's side of an InputArena: a read-only mapping. Copies share it. Thread-safe.
class InputArenaView {
 public:
  /// @error ProtocolViolation, SystemCall.
  static Result<InputArenaView> open(UniqueFd fd, Bytes slot_bytes) {
    auto file = MemoryFile::adopt(std::move(fd));
    if (!file) return file.error();
    if (slot_bytes.count == 0 || file->size().count % slot_bytes.count != 0) {
      return Error{Errc::ProtocolViolation,
                   fmt::format("{} bytes are not slots of {} bytes", file->size().count, slot_bytes.count)};
    }
    auto mapping = file->map_read_only(MemoryFile::Prefault::yes);
    if (!mapping) return mapping.error();
    return InputArenaView(std::make_shared<const Mapping<const std::byte>>(std::move(*mapping)), slot_bytes);
  }

  /// The first `length` bytes of a slot; to be read while the message that names it is held.
  /// @error ProtocolViolation when there is no such slot or it is shorter.
  [[nodiscard]] Result<std::span<const std::byte>> payload(std::uint32_t slot, std::uint64_t length) const {
    const auto bytes = mapping_->bytes();
    if (slot >= bytes.size() / slot_bytes_.count || length > slot_bytes_.count) {
      return Error{Errc::ProtocolViolation, fmt::format("no slot {} with {} bytes of input", slot, length)};
    }
    return bytes.subspan(slot * slot_bytes_.count, length);
  }

 private:
  InputArenaView(std::shared_ptr<const Mapping<const std::byte>> mapping, Bytes slot_bytes) noexcept
      : mapping_(std::move(mapping)), slot_bytes_(slot_bytes) {}

  std::shared_ptr<const Mapping<const std::byte>> mapping_;
  Bytes slot_bytes_;
};

}  // namespace amp4ec::ipc
