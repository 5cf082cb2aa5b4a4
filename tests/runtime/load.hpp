// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/support.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>

namespace amp4ec::test {

/// Asks a session the same again and again, until it ends; fails the test then when an answer was an error or not the
/// expected one.
class Load {
 public:
  Load(Session& session, Values input, Value expected)
      : thread_([this, &session, input = std::move(input), expected = std::move(expected)] {
          while (!stop_) {
            const auto answer = session.infer(input);
            if (!answer) error_ = answer.error().message;
            if (!answer || compare(*answer, expected).relative_error > 1e-4) ++wrong_;
            ++answers_;
          }
        }) {}
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() {
    stop_ = true;
    thread_.join();
    INFO(error_);
    CHECK(wrong_ == 0);
  }

  [[nodiscard]] std::size_t answers() const { return answers_; }
  /// Blocks until there are so many more.
  void wait_for(std::size_t more) const {
    const std::size_t wanted = answers_ + more;
    while (answers_ < wanted) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<std::size_t> answers_ = 0;
  std::size_t wrong_ = 0;  // Of the thread, until it has ended.
  std::string error_;
  std::thread thread_;
};

}  // namespace amp4ec::test
