// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/runtime/session.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

namespace amp4ec::test {

/// What a session tells of its workers.
class Events {
 public:
  std::function<void(const SessionEvent&)> sink() {
    return [this](const SessionEvent& event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    };
  }

  /// Blocks until so many of a kind have come.
  void wait_for(SessionEvent::Kind kind, std::ptrdiff_t count = 1) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, std::chrono::seconds(60), [&] { return counted(kind) >= count; });
    REQUIRE(came);
  }
  std::ptrdiff_t count(SessionEvent::Kind kind) {
    const std::lock_guard lock(mutex_);
    return counted(kind);
  }

 private:
  [[nodiscard]] std::ptrdiff_t counted(SessionEvent::Kind kind) const {
    return std::count_if(events_.begin(), events_.end(), [&](const SessionEvent& event) { return event.kind == kind; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<SessionEvent> events_;
};

}  // namespace amp4ec::test
