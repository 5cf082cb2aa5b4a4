// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

namespace amp4ec::detail {

/// The latest of a row of values, handed from one thread to others without a lock: `load` may run on any thread at any
/// time, `store` on one thread at a time.
///
/// Two cells take turns, so a reader finds a whole value even while the writer is held up in the middle of the next.
/// A reader starts again only when a whole `store` and the beginning of another fell into its copying. The cells are
/// words that are atomic one by one: there is no data race, by the language's rules and by ThreadSanitizer's.
template <class T>
class Latest {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  void store(const T& value) noexcept {
    std::array<std::uint64_t, words> raw{};
    std::memcpy(raw.data(), &value, sizeof value);
    const auto next = stored_.load(std::memory_order_relaxed) + 1;
    auto& cell = cells_[next % 2];
    // Release: who sees a word of this value sees that the one before it was stored.
    for (std::size_t i = 0; i < words; ++i) cell[i].store(raw[i], std::memory_order_release);
    stored_.store(next, std::memory_order_release);
  }

  /// Nothing before the first `store`.
  [[nodiscard]] std::optional<T> load() const noexcept {
    std::array<std::uint64_t, words> raw;
    for (;;) {
      const auto current = stored_.load(std::memory_order_acquire);
      if (current == 0) return std::nullopt;
      const auto& cell = cells_[current % 2];
      for (std::size_t i = 0; i < words; ++i) raw[i] = cell[i].load(std::memory_order_acquire);
      // This cell is written again only after the next value was stored in the other.
      if (stored_.load(std::memory_order_relaxed) == current) break;
    }
    T value;
    std::memcpy(static_cast<void*>(&value), raw.data(), sizeof value);
    return value;
  }

 private:
  static constexpr std::size_t words = (sizeof(T) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
  using Cell = std::array<std::atomic<std::uint64_t>, words>;
  static_assert(Cell::value_type::is_always_lock_free);

  std::array<Cell, 2> cells_{};
  std::atomic<std::uint64_t> stored_ = 0;
};

}  // namespace amp4ec::detail
