// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/core/units.hpp>

#include <chrono>
#include <string>

namespace amp4ec::detail {

struct ProbeRequest {
  std::string name;  ///< Of the file, for messages.
  int file = -1;
  int example = -1;  ///< Encoded values; -1: do not run the model.
  Bytes memory;
  std::chrono::milliseconds timeout{};
};

/// Tries a model in a child of this process under limits; whatever becomes of the child is an error.
/// Only for a process that has never run an operator: thread pools do not survive fork.
Result<void> probe_in_child(const ProbeRequest& request);

}  // namespace amp4ec::detail
