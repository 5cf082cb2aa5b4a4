// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/plan/profile.hpp>

namespace amp4ec::cli {

/// Measures the model in a worker process without limits. Blocks for seconds. @error as Runtime::profile.
Result<Profile> measure_profile(const Subject& subject, Form form);

/// The profile in this file if it exists; otherwise measures, and writes the file unless its name is empty.
/// @error ProfileInvalid when the file's profile belongs to another model; FileNotFound, JsonInvalid, SystemCall.
Result<Profile> load_or_measure_profile(const Subject& subject, Form form, const std::string& file);

}  // namespace amp4ec::cli
