// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/descriptor.hpp>
#include <amp4ec/ipc/memory_file.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace amp4ec::ipc::detail {

/// First bytes of an edge's memory file. Read once, by `Edge::open`, and never again.
struct EdgeHeader {
  static constexpr std::uint64_t expected_magic = 0x4547444543345041;  // "AP4CEDGE" in memory, little-endian
  static constexpr std::uint32_t expected_version = 1;

  std::uint64_t magic = expected_magic;
  std::uint32_t version = expected_version;
  std::uint32_t slots = 0;
  std::uint64_t slot_bytes = 0;
  std::array<std::uint64_t, 5> spare{};
};
static_assert(sizeof(EdgeHeader) == 64);

/// Where things lie in an edge's memory file. Every address is computed from this copy in process memory.
struct EdgeLayout {
  static constexpr std::uint32_t max_slots = 1U << 16U;
  static constexpr std::uint64_t max_slot_bytes = std::uint64_t{1} << 40U;
  static constexpr std::uint64_t line = 64;
  static constexpr std::uint64_t page = 4096;
  /// What comes with the descriptor of a message's own file: such a message has to say something.
  static constexpr std::string_view file_text = "message";

  // Words written by different sides lie on different cache lines.
  static constexpr std::uint64_t published_at = 1 * line;
  static constexpr std::uint64_t freed_at = 2 * line;
  static constexpr std::uint64_t slot_wanted_at = 3 * line;
  static constexpr std::uint64_t descriptors_at = 4 * line;

  std::uint32_t slots = 0;
  std::uint64_t slot_bytes = 0;

  static constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) noexcept {
    return (n + unit - 1) / unit * unit;
  }
  [[nodiscard]] constexpr bool valid() const noexcept {
    return slots > 0 && slots <= max_slots && slot_bytes > 0 && slot_bytes <= max_slot_bytes && slot_bytes % line == 0;
  }
  /// Of both rings. A slot is in one place at a time, so neither ring ever holds more entries than there are slots:
  /// that is why no side has to publish how far it has read.
  [[nodiscard]] constexpr std::uint64_t capacity() const noexcept { return std::bit_ceil(std::uint64_t{slots}); }
  [[nodiscard]] constexpr std::uint64_t freed_slots_at() const noexcept {
    return descriptors_at + capacity() * sizeof(Descriptor);
  }
  [[nodiscard]] constexpr std::uint64_t payload_at() const noexcept {
    return round_up(freed_slots_at() + capacity() * sizeof(std::uint32_t), page);
  }
  [[nodiscard]] constexpr std::uint64_t file_bytes() const noexcept { return payload_at() + slots * slot_bytes; }
};

/// A mapped edge: typed access to its words. Shared memory is touched only through lock-free atomics (and payloads), so
/// whatever a peer writes meanwhile, each word is read exactly once and cannot change after its check.
class EdgeMemory {
 public:
  using Counter = std::atomic_ref<std::uint64_t>;
  using SlotNumber = std::atomic_ref<std::uint32_t>;
  static_assert(Counter::is_always_lock_free && SlotNumber::is_always_lock_free);

  EdgeMemory(Mapping<std::byte> mapping, EdgeLayout layout) noexcept
      : mapping_(std::move(mapping)), base_(mapping_.bytes().data()), layout_(layout) {}

  [[nodiscard]] const EdgeLayout& layout() const noexcept { return layout_; }

  [[nodiscard]] Counter published() const noexcept { return Counter(word(EdgeLayout::published_at)); }
  [[nodiscard]] Counter freed() const noexcept { return Counter(word(EdgeLayout::freed_at)); }
  [[nodiscard]] Counter slot_wanted() const noexcept { return Counter(word(EdgeLayout::slot_wanted_at)); }

  [[nodiscard]] SlotNumber freed_slot(std::uint64_t position) const noexcept {
    const std::uint64_t offset = layout_.freed_slots_at() + wrap(position) * sizeof(std::uint32_t);
    return SlotNumber(*reinterpret_cast<std::uint32_t*>(base_ + offset));
  }

  [[nodiscard]] Descriptor load_descriptor(std::uint64_t position) const noexcept {
    DescriptorWords words{};
    for (std::size_t i = 0; i < words.size(); ++i) {
      words[i] = Counter(word(descriptor_word(position, i))).load(std::memory_order_relaxed);
    }
    return std::bit_cast<Descriptor>(words);
  }
  void store_descriptor(std::uint64_t position, const Descriptor& descriptor) const noexcept {
    const auto words = std::bit_cast<DescriptorWords>(descriptor);
    for (std::size_t i = 0; i < words.size(); ++i) {
      Counter(word(descriptor_word(position, i))).store(words[i], std::memory_order_relaxed);
    }
  }

  /// From now on nothing in this process writes payloads through this mapping: what tries is a segmentation fault
  /// instead of a message silently changed. @error SystemCall.
  [[nodiscard]] Result<void> make_payload_read_only() const {
    if (::mprotect(base_ + layout_.payload_at(), layout_.slots * layout_.slot_bytes, PROT_READ) < 0) {
      return system_error("mprotect of an edge's payload");
    }
    return {};
  }

  /// `slot` must be below `layout().slots`.
  [[nodiscard]] std::span<std::byte> payload(std::uint32_t slot) const noexcept {
    return {base_ + layout_.payload_at() + slot * layout_.slot_bytes, layout_.slot_bytes};
  }

 private:
  using DescriptorWords = std::array<std::uint64_t, sizeof(Descriptor) / sizeof(std::uint64_t)>;

  [[nodiscard]] std::uint64_t wrap(std::uint64_t position) const noexcept {
    return position & (layout_.capacity() - 1);
  }
  [[nodiscard]] std::uint64_t descriptor_word(std::uint64_t position, std::size_t index) const noexcept {
    return EdgeLayout::descriptors_at + wrap(position) * sizeof(Descriptor) + index * sizeof(std::uint64_t);
  }
  [[nodiscard]] std::uint64_t& word(std::uint64_t offset) const noexcept {
    return *reinterpret_cast<std::uint64_t*>(base_ + offset);
  }

  Mapping<std::byte> mapping_;
  std::byte* base_;
  EdgeLayout layout_;
};

}  // namespace amp4ec::ipc::detail
