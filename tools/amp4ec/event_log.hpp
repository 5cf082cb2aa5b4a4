// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/runtime/session.hpp>

#include <mutex>
#include <utility>
#include <vector>

namespace amp4ec::cli {

/// What a session tells on its runtime's thread, for the thread that reports it.
class EventLog {
 public:
  void add(const SessionEvent& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }

  /// What has come since the last time.
  std::vector<SessionEvent> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<SessionEvent> events_;
};

}  // namespace amp4ec::cli
