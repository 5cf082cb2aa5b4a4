// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/runtime_state.hpp"

namespace amp4ec::detail {

/// See Runtime::profile.
Result<Profile> measure_profile(RuntimeState& runtime, const Model& model, const Values& example,
                                const ProfileOptions& options);

/// See Runtime::refine.
Result<std::size_t> refine_profile(RuntimeState& runtime, Profile& profile, const Model& model, const Values& example,
                                   const Plan& plan, const ProfileOptions& options);

}  // namespace amp4ec::detail
