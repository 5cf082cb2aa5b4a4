// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace amp4ec::cli {

/// Remembers SIGINT and SIGTERM, so that the work under way ends in order: workers and groups are removed.
///
/// The first signal also ends this process's workers: calls of the library that block on one then return at once, with
/// an error. The second signal has its usual effect. One object a process; `signal` may be called from any thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();

  /// The signal that came, or 0.
  [[nodiscard]] int signal() const noexcept;
  [[nodiscard]] explicit operator bool() const noexcept { return signal() != 0; }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace amp4ec::cli
