// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// What can happen in a simulation.
enum class EventKind : std::uint8_t {
  arrival,       ///< A request comes.
  finish,        ///< A station of host `index` is done; void unless the host still has this `stamp`.
  outage_begin,  ///< Outage `index`.
  outage_end,
  breakdown,  ///< Station `index` fails at random.
  repair,
};

struct Event {
  double at_us = 0;
  std::uint64_t order = 0;  ///< Sequence number and, in the lowest byte, the kind: equal times keep their order.
  std::uint32_t index = 0;
  std::uint32_t stamp = 0;

  [[nodiscard]] EventKind kind() const noexcept { return static_cast<EventKind>(order & 0xFFU); }
  friend bool operator<(const Event& a, const Event& b) noexcept {
    return a.at_us < b.at_us || (a.at_us == b.at_us && a.order < b.order);
  }
};

/// Events by time; of equal times, the one that was added first. A heap with four children a place, which has half the
/// levels of a binary one.
class EventHeap {
 public:
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }

  void push(double at_us, EventKind kind, std::uint32_t index = 0, std::uint32_t stamp = 0) {
    const Event event{at_us, (++sequence_ << 8U) | static_cast<std::uint64_t>(kind), index, stamp};
    std::size_t place = heap_.size();
    heap_.push_back(event);
    while (place > 0) {
      const std::size_t parent = (place - 1) / children;
      if (!(event < heap_[parent])) break;
      heap_[place] = heap_[parent];
      place = parent;
    }
    heap_[place] = event;
  }

  /// Takes the earliest out. @pre not empty
  Event pop() {
    const Event first = heap_.front();
    const Event last = heap_.back();
    heap_.pop_back();
    const std::size_t size = heap_.size();
    if (size == 0) return first;
    std::size_t place = 0;
    for (;;) {
      const std::size_t from = place * children + 1;
      if (from >= size) break;
      const std::size_t to = from + children < size ? from + children : size;
      std::size_t least = from;
      for (std::size_t child = from + 1; child < to; ++child) {
        if (heap_[child] < heap_[least]) least = child;
      }
      if (!(heap_[least] < last)) break;
      heap_[place] = heap_[least];
      place = least;
    }
    heap_[place] = last;
    return first;
  }

 private:
  static constexpr std::size_t children = 4;
  std::vector<Event> heap_;
  std::uint64_t sequence_ = 0;
};

}  // namespace amp4ec::detail
