// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/plan/profile.hpp>

#include <boost/json/object.hpp>

#include <string>
#include <string_view>

namespace amp4ec {

/// A profile as a JSON object with "schema": 1: "layers" and "cuts" carry structure and times together.
/// Compiled, as all of this header: part of `amp4ec::amp4ec`.
[[nodiscard]] boost::json::object profile_to_json(const Profile& profile);

/// `profile_to_json` as text. The profile must be valid (`validate_profile`).
[[nodiscard]] std::string write_profile(const Profile& profile);

/// Reads what `write_profile` writes; every field is required. Safe on hostile text.
/// @error JsonInvalid names the JSON path of the fault; NotSupported for a newer schema; ProfileInvalid if the figures
/// are impossible.
[[nodiscard]] Result<Profile> read_profile(std::string_view text);

}  // namespace amp4ec
