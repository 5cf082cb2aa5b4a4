// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/explanation.hpp>

#include <boost/json/object.hpp>

namespace amp4ec {

/// An explanation as a JSON object: "limit", "pipelines", "nodes", "links", "alternatives", "next_best" (a name, or
/// null), "relaxations", "replanned", "splitting". What has no limit or is infinite is null. Written only, never read.
/// Compiled: part of `amp4ec::amp4ec`.
[[nodiscard]] boost::json::object explanation_to_json(const Explanation& explanation);

}  // namespace amp4ec
