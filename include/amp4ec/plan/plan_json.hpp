// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/plan/plan.hpp>

#include <boost/json/object.hpp>

#include <string>
#include <string_view>

namespace amp4ec {

/// A plan as a JSON object with "schema": 1; the form of plan.json and of the command's output.
/// Compiled, as all of this header: part of `amp4ec::amp4ec`.
[[nodiscard]] boost::json::object plan_to_json(const Plan& plan);

/// `plan_to_json` as text that people can read and edit.
[[nodiscard]] std::string write_plan(const Plan& plan);

/// Reads what `write_plan` writes. A stage needs "node", "first_layer" and "last_layer"; what is predicted may be left
/// out by those who write plans by hand (`evaluate` fills it in). Unknown fields are refused inside pipelines and
/// stages, where they are likely typing errors, and ignored around them, so a report that holds a plan is a plan.
/// Checks form only: see `validate_plan`. Safe on hostile text.
/// @error JsonInvalid names the JSON path of the fault, e.g. "$.pipelines[0].stages[1].node"; NotSupported for a newer
/// schema.
[[nodiscard]] Result<Plan> read_plan(std::string_view text);

}  // namespace amp4ec
