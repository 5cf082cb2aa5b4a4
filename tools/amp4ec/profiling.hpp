// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "planning.hpp"
#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/plan/profile.hpp>

#include <functional>
#include <string>

namespace amp4ec::cli {

/// Measures the model in worker processes without limits. Blocks for seconds. @error as Runtime::profile.
Result<Profile> measure_profile(const Subject& subject, Form form);

/// Makes a plan from a profile.
using PlanMaker = std::function<Result<Plan>(const Profile&)>;

struct Planned {
  Profile profile;
  Plan plan;
};

/// Plans from the profile in the options' file, or measures one and writes the file unless its name is empty. What the
/// plan's stages cost is then measured as well where the profile only predicts it, and the plan made again. Blocks for
/// seconds. With `no_profile` it plans from an estimate.
/// @error ProfileInvalid when the file's profile belongs to another model; FileNotFound, JsonInvalid, SystemCall; as
/// Runtime::profile; and what `make` returns.
Result<Planned> plan_from_profile(const Subject& subject, Form form, const PlanningOptions& options,
                                  const PlanMaker& make);

}  // namespace amp4ec::cli
